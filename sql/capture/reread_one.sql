
  insert into {{log}} (cdc_op, {{columns}})
  select 'U', {{row}} from only {{source}} t
  where row({{key_t}}) operator(pg_catalog.=) (select {{key_n}} from cdc_new n{{passing}} limit 1)
    and row({{key_t}}) operator(pg_catalog.=) (select {{key_o}} from cdc_old o{{passing}} limit 1)
    and {{written}} and not exists (select from cdc_new offset 1);
  if found then
    return null;
  end if;
  perform from cdc_new limit 1;
  if not found then
    return null;
  end if;
