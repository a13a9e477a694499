-- Logs a table without a key anew: a T, and behind it every row that it holds. Nobody writes the table meanwhile: it is
-- locked before, so who wrote it has ended, and its log rows stand in front of the T.
{{exact_text}}
set local row_security = off;
set local statement_timeout = 0;
insert into {{log}} (cdc_op) values ('T');
insert into {{log}} (cdc_op, {{columns}}) select 'I', {{row}} from {{table}} t{{where_filter}};
