-- A delete in a table without a key: the publisher halts at these rows, the application goes on.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set jit = off
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin
  insert into {{log}} (cdc_op, {{columns}}) select 'D', {{row}} from cdc_old t{{where_filter}};
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
