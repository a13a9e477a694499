-- Capture by re-reading, for keys of types that call different values equal (numeric 1.0 and 1.00, citext, …).
--
-- The published key is the value itself, so keys are told apart by their bytes (*=); rows are found by equality, as
-- the index finds them. A key whose bytes are gone is a D, even where an equal one is there; that one is logged behind
-- it, because a target that compares by equality has just deleted it. See reread.sql for the rest.
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
  insert into {{log}} (cdc_op, {{columns}})
  select case when e.cdc_gone then 'D' when s.cdc_known then 'U' else 'I' end, {{key_or_row_loose}}
  from (
    select {{key_aliases}}, {{row_aliases}}, r.cdc_found, r.cdc_same,
           pg_catalog.row_number() over same_key as cdc_nth,
           pg_catalog.bool_or(r.cdc_same and k.cdc_was) over same_key as cdc_known
    from ({{touched}}) k
    left join lateral (
      select {{row}}, true as cdc_found, row({{key_t}})::record operator(pg_catalog.*=) row({{key_k}})::record as cdc_same
      from only {{source}} t where {{lookup_k}} limit 1
    ) r on true
    window same_key as (partition by {{key_k}} rows between unbounded preceding and unbounded following)
  ) s
  cross join (values (true), (false)) e (cdc_gone)
  where case when e.cdc_gone then s.cdc_same is not true else s.cdc_found and s.cdc_nth = 1 end
  order by e.cdc_gone desc;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
