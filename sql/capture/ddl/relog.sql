insert into {{log}} (cdc_op, {{columns}}) select $1, {{row}} from {{source}} t
