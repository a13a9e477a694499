-- Capture row by row, for partitioned tables: row triggers are cloned to new partitions, statement triggers are not
-- and miss what is written to a partition directly. Re-reads each key, as reread.sql does and for the same reason.
-- A key that changed its bytes is logged as D of the old one, then I of the new one. To a filter (cdc_was, cdc_is) a row
-- that does not meet it is not there.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set enable_seqscan = off
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
  cdc_was boolean := tg_op <> 'INSERT'{{and_old_passes}};
  cdc_is boolean := tg_op <> 'DELETE'{{and_new_passes}};
  cdc_same boolean := tg_op = 'UPDATE' and row({{key_old}})::record operator(pg_catalog.*=) row({{key_new}})::record;
begin{{guard}}
  if cdc_was and not (cdc_is and cdc_same) then
    insert into {{log}} (cdc_op, {{columns}})
    select 'U', {{row}} from {{source}} t
    where {{lookup_old}} and row({{key_t}})::record operator(pg_catalog.*=) row({{key_old}})::record limit 1;
    if not found then
      insert into {{log}} (cdc_op, {{key_columns}}) values ('D', {{key_old_cast}});
      if {{loose}} then
        -- A target that compares by equality has just deleted an equal key: log it again, unless that comes below.
        insert into {{log}} (cdc_op, {{columns}})
        select 'U', {{row}} from {{source}} t
        where {{lookup_old}} and row({{key_t}})::record operator(pg_catalog.*<>) row({{key_new}})::record limit 1;
      end if;
    end if;
  end if;
  if cdc_is then
    insert into {{log}} (cdc_op, {{columns}})
    select case when cdc_was and cdc_same then 'U' else 'I' end, {{row}} from {{source}} t
    where {{lookup_new}} and row({{key_t}})::record operator(pg_catalog.*=) row({{key_new}})::record limit 1;
    if not found then
      insert into {{log}} (cdc_op, {{key_columns}}) values ('D', {{key_new_cast}});
      if {{loose}} then
        insert into {{log}} (cdc_op, {{columns}})
        select 'U', {{row}} from {{source}} t where {{lookup_new}} limit 1;
      end if;
    end if;
  end if;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
