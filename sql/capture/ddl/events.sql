-- Tells whether the registry came here with a dump: its object ids mean other tables then. init says what to do.
create or replace function {{schema}}.restored() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select count(*) > 0 and bool_and(c.oid <> t.log_relation)
from {{schema}}.tables t
join pg_class c on c.relname = t.log_table
  and c.relnamespace = (select n.oid from pg_namespace n where n.nspname = {{schema_literal}})
$tripline$;
revoke execute on function {{schema}}.restored() from public;

-- What the event triggers run, as the owner of capture. It never makes a statement of the application fail.
create or replace function {{schema}}.on_ddl() returns event_trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off
set lock_timeout = 0
set jit = off
{{settings}}as $tripline$
declare
  wanted oid;
  why text;
begin
  if {{schema}}.restored() then
    return;
  end if;
  for wanted in
    -- Of an index its table, of a partition the table at the top; of a type, domain or schema every captured table.
    select distinct coalesce(pg_partition_root(x.oid), x.oid)::oid
    from (
      select coalesce(i.indrelid, c.objid) as oid
      from pg_event_trigger_ddl_commands() c
      left join pg_index i on i.indexrelid = c.objid
      -- What an extension's script makes would become the extension's, log tables too: init takes its tables, and what
      -- it alters is looked at when it has ended.
      where c.classid = 'pg_class'::regclass and not c.in_extension
      union
      select t.relation from {{schema}}.tables t
      where exists (select from pg_event_trigger_ddl_commands() c
                    where not c.in_extension
                      and c.command_tag in ('ALTER TYPE', 'ALTER DOMAIN', 'ALTER SCHEMA', 'ALTER EXTENSION'))
    ) x
    join pg_class r on r.oid = coalesce(pg_partition_root(x.oid), x.oid)
    join pg_namespace n on n.oid = r.relnamespace
    where r.relkind in ('r', 'p') and r.relpersistence <> 't'
      and n.nspname <> {{schema_literal}}
      and (exists (select from {{schema}}.tables t where t.relation = r.oid)
           or exists (select from {{schema}}.patterns p where n.nspname || '.' || r.relname like any (p.include)))
  loop
    perform {{schema}}.touched(wanted);
    begin
      why := {{schema}}.left_out(wanted, tg_tag <> 'ALTER TABLE');
    exception when others then
      -- Only a hint: what was followed stays.
      why := null;
    end;
    if why is not null then
      raise notice 'tripline: % is not captured: %; tripline init would say the way out', wanted::regclass, why;
    end if;
  end loop;
exception when others then
  raise warning 'tripline: DDL could not be followed: %', sqlerrm;
end
$tripline$;
revoke execute on function {{schema}}.on_ddl() from public;

create or replace function {{schema}}.on_drop() returns event_trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off
set lock_timeout = 0
set jit = off
{{settings}}as $tripline$
declare
  r record;
begin
  if {{schema}}.restored() then
    return;
  end if;
  for r in
    select t.relation, bool_or(o.objid = t.relation and o.objsubid = 0) as gone
    from pg_event_trigger_dropped_objects() o
    join {{schema}}.tables t on o.objid = t.relation or o.objid = any (t.leaves)
    where o.classid = 'pg_class'::regclass
    group by t.relation
  loop
    if r.gone then
      perform {{schema}}.let_go(r.relation);
    else
      perform {{schema}}.touched(r.relation);
    end if;
  end loop;
exception when others then
  raise warning 'tripline: DDL could not be followed: %', sqlerrm;
end
$tripline$;
revoke execute on function {{schema}}.on_drop() from public;
