insert into {{log}} (cdc_op, {{key_columns}}) select 'D', {{key_t_cast}} from {{source}} t
