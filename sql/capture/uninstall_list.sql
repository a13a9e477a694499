-- What there is to remove, in order: statements as text.
select coalesce(json_agg(json_build_object('what', x.what, 'sql', x.sql) order by x.step, x.what), '[]')
from (
  -- Clones on partitions go with the trigger that they come from.
  select 1 as step, format('trigger %I on %I.%I', g.tgname, n.nspname, c.relname) as what,
         format('drop trigger %I on %I.%I', g.tgname, n.nspname, c.relname) as sql
  from pg_trigger g
  join pg_proc p on p.oid = g.tgfoid
  join pg_class c on c.oid = g.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  where p.pronamespace = (select oid from pg_namespace where nspname = {{schema_literal}})
    and not g.tgisinternal and g.tgparentid = 0
  union all
  select 0, format('event trigger %I', e.evtname), format('drop event trigger %I', e.evtname)
  from pg_event_trigger e
  join pg_proc p on p.oid = e.evtfoid
  where p.pronamespace = (select oid from pg_namespace where nspname = {{schema_literal}})
  union all
  select 2, format('function %s', p.oid::regprocedure), format('drop function %s', p.oid::regprocedure)
  from pg_proc p
  where p.pronamespace = (select oid from pg_namespace where nspname = {{schema_literal}}) and p.prokind = 'f'
  union all
  select 3, format('table %I.%I', {{schema_literal}}, c.relname), format('drop table %I.%I', {{schema_literal}}, c.relname)
  from pg_class c
  where c.relnamespace = (select oid from pg_namespace where nspname = {{schema_literal}}) and c.relkind = 'r'
    and (c.relname in ('tables', 'pipelines', 'snapshots', 'salt', 'shapes', 'patterns', 'retention', 'gaps')
         or exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'cdc_txid' and a.attnum = 1))
  union all
  select 4, format('sequence %I.%I', {{schema_literal}}, c.relname), format('drop sequence %I.%I', {{schema_literal}}, c.relname)
  from pg_class c
  where c.relnamespace = (select oid from pg_namespace where nspname = {{schema_literal}}) and c.relkind = 'S'
    and c.relname = 'cdc_id_seq'
  union all
  select 5, format('schema %I', nspname), format('drop schema %I', nspname)
  from pg_namespace where nspname = {{schema_literal}}
) x
