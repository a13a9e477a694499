-- Capture straight from the transition tables. Where the statement changed keys: D of each key that is really gone,
-- then the rows, I for a key that was not there before. Set operations and a full join only, never
-- another join of the two. To a filter a row
-- that does not meet it is not there.
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
  insert into {{log}} (cdc_op, {{columns}}) select 'U', {{row}} from cdc_new t
  where not exists ({{moved}}){{and_filter}};
  if found then
    return null;
  end if;
  insert into {{log}} (cdc_op, {{key_columns}})
  select 'D', {{key_k_cast}}
  from (select {{key_t}} from cdc_old t{{where_filter}} except select {{key_t}} from cdc_new t{{where_filter}}) k
  left join lateral (select true as cdc_found from only {{source}} t where {{lookup_k}} offset 0) r on true
  where r.cdc_found is null;
  insert into {{log}} (cdc_op, {{columns}})
  select case when s.cdc_known then 'U' else 'I' end, {{row_s}}
  from (
    select u.*, pg_catalog.bool_or(u.cdc_was) over (partition by {{key_u}}) as cdc_known
    from (select {{row}}, false as cdc_was from cdc_new t{{where_filter}}
          union all select {{row}}, true from cdc_old t{{where_filter}}) u
  ) s
  where not s.cdc_was;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
