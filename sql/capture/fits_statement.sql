insert into {{log}} (cdc_op, {{columns}}) select 'I', {{row}} from only {{source}} t where {{lookup_t}}
