-- TRUNCATE: logs T and then every row that the table holds again, because a trigger of the user's may have refilled it
-- before this one ran.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin{{guard}}
  insert into {{log}} (cdc_op) values ('T');
  insert into {{log}} (cdc_op, {{columns}}) select 'I', {{row}} from {{source}} t{{where_filter}};
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
