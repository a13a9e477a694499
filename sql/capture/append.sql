-- Capture of a table without a key, straight from the rows that were written: `old` and `new` are those of a statement, or
-- the one of a row trigger. At a D or U the publisher halts, the application goes on. The rows as they were come first, so
-- that a key that the table is given later finds them gone.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}{{jit}}
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin{{guard}}
  if tg_op <> 'INSERT' then
    insert into {{log}} (cdc_op, {{columns}}) select 'D', {{row}} from {{old}} t{{where_filter}};
  end if;
  if tg_op <> 'DELETE' then
    insert into {{log}} (cdc_op, {{columns}})
    select case tg_op when 'INSERT' then 'I' else 'U' end, {{row}} from {{new}} t{{where_filter}};
  end if;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
