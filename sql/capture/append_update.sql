-- An update in a table without a key: the publisher halts at these rows, the application goes on. The rows as they were
-- come first, so that a key that the table is given later finds them gone.
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
  insert into {{log}} (cdc_op, {{columns}}) select 'U', {{row}} from cdc_new t{{where_filter}};
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
