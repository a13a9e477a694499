
  insert into {{log}} (cdc_op, {{columns}})
  select case when r.cdc_found is null then 'D' else 'U' end, {{key_or_row}}
  from (select {{key_n}} from cdc_new n{{passing}}) k
  left join lateral (
    select {{row}}, true as cdc_found from only {{source}} t where {{lookup_k}} offset 0
  ) r on true
  where not exists ({{moved}});
  if found then
    return null;
  end if;
