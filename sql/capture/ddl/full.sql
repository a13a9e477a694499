-- Tells a function of capture whether the log of its table is full: then it logs nothing. Noted once, and from then on it is
-- full for the functions of this generation, even when the log shrinks: what was not logged is copied by init.
--
-- Called only by the functions of tables with on_full = "stop". A note of another transaction that is not committed yet does
-- not count, and nobody waits for it: each transaction that leaves something out has seen a committed note or has made one.
create or replace function {{schema}}.is_full(wanted oid, most_bytes bigint, current_generation bigint) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  size bigint;
begin
  perform from {{schema}}.gaps g where g.relation = wanted and g.generation = current_generation;
  if found then
    return true;
  end if;
  select pg_total_relation_size(t.log_relation) into size from {{schema}}.tables t where t.relation = wanted;
  if size is null or size < most_bytes then
    return false;
  end if;
  insert into {{schema}}.gaps (relation, generation, bytes) values (wanted, current_generation, size);
  return true;
end
$tripline$;
revoke execute on function {{schema}}.is_full(oid, bigint, bigint) from public;
