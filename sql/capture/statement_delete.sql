-- Capture straight from the transition table: D only where the key is really gone (the same statement may have put it
-- back).
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set enable_seqscan = off
set jit = off
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin{{guard}}
  insert into {{log}} (cdc_op, {{key_columns}})
  select 'D', {{key_k_cast}}
  from (select {{key_t}} from cdc_old t{{where_filter}}) k
  left join lateral (select true as cdc_found from only {{source}} t where {{lookup_k}} offset 0) r on true
  where r.cdc_found is null;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
