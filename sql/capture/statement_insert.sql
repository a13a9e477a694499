-- Capture straight from the transition table: only where no trigger of the user's writes the table again.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp{{settings}}
set jit = off
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin{{guard}}
  insert into {{log}} (cdc_op, {{columns}}) select 'I', {{row}} from cdc_new t{{where_filter}};
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
