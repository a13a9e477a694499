-- TRUNCATE of one partition: logs D for each of its rows, while they are still there. Fires for a TRUNCATE of the whole
-- table as well; the T follows.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set standard_conforming_strings = on
as $tripline${{conflict}}
begin
  if not exists (select from pg_catalog.pg_partition_ancestors(tg_relid) a where a.relid = {{relation}}::pg_catalog.oid::pg_catalog.regclass) then
    return null;  -- detached since
  end if;
  perform pg_catalog.pg_current_xact_id();
  execute {{leaf_statement}} || pg_catalog.format('%I.%I t', tg_table_schema, tg_table_name){{leaf_filter}};
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
