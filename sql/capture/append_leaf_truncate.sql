-- TRUNCATE of one partition of a table without a key: logs D for each of its rows, at which the publisher halts. Fires for a
-- TRUNCATE of the whole table as well; the T that follows takes them back.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set standard_conforming_strings = on
as $tripline${{conflict}}
begin
  if not (select c.relispartition from pg_catalog.pg_class c where c.oid = tg_relid) then
    return null;  -- detached since
  end if;
  perform {{fits}};
  perform pg_catalog.pg_current_xact_id();
  execute {{leaf_statement}} || pg_catalog.format('%I.%I t', tg_table_schema, tg_table_name){{leaf_filter}};
  if pg_catalog.current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
    -- Rows that came since this transaction's snapshot go unseen: there may have been some.
    insert into {{log}} (cdc_op) values ('D');
  end if;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
