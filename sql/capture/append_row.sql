-- Capture row by row of a partitioned table without a key. At a D or U the publisher halts, the application goes on.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin
  if tg_op <> 'INSERT' then
    insert into {{log}} (cdc_op, {{columns}}) select 'D', {{row}} from (select old.*) t{{where_filter}};
  end if;
  if tg_op <> 'DELETE' then
    insert into {{log}} (cdc_op, {{columns}})
    select case tg_op when 'INSERT' then 'I' else 'U' end, {{row}} from (select new.*) t{{where_filter}};
  end if;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
