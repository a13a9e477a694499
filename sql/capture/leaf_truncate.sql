-- TRUNCATE of one partition: logs D for each of its rows, while they are still there. Fires for a TRUNCATE of the whole
-- table as well; the T follows.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set standard_conforming_strings = on
as $tripline${{conflict}}
begin
  if not (select c.relispartition from pg_catalog.pg_class c where c.oid = tg_relid) then
    return null;  -- detached since
  end if;{{guard}}
  perform {{fits}};
  perform pg_catalog.pg_current_xact_id();
  execute {{leaf_statement}} || pg_catalog.format('%I.%I t', tg_table_schema, tg_table_name){{leaf_filter}};
  if pg_catalog.current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    -- Rows that came since this transaction's snapshot go unseen, and no statement here can see them.
    {{unseen}};
  end if;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
