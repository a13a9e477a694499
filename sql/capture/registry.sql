-- The registry's rows, each beside what the catalog shows of it now.
select coalesce(json_agg(json_build_object(
  'relation', t.relation::int8, 'schema', t.schema_name, 'name', t.table_name, 'log_table', t.log_table,
  'log_relation', t.log_relation::int8, 'key', t.key_columns, 'key_index', t.key_index, 'columns', t.columns,
  'mode', t.mode, 'version', t.version, 'leaves', t.leaves::int8[], 'definition', t.definition, 'objects', t.objects,
  'exists', exists (select from pg_class c where c.oid = t.relation),
  'log_exists', lc.oid is not null,
  -- Its log table has another object id: a dump was restored, or somebody made it anew.
  'elsewhere', lc.oid is null and exists (
    select from pg_class c
    where c.relname = t.log_table and c.relnamespace = (select oid from pg_namespace where nspname = {{schema_literal}})),
  'log_columns', (
    select coalesce(json_agg(json_build_object('name', a.attname,
      'base', case when e.oid is null then ty.typname else e.typname || '[]' end) order by a.attnum), '[]')
    from pg_attribute a
    join pg_type ty on ty.oid = a.atttypid
    left join pg_type e on e.oid = ty.typelem and e.typarray = ty.oid
    where a.attrelid = lc.oid and a.attnum > 0 and not a.attisdropped),
  'log_settings', (
    select coalesce(json_agg(split_part(o, '=', 1)), '[]')
    from pg_class s, unnest(s.reloptions) o where s.oid = lc.oid),
  'standing', {{objects}},
  -- By name of the column, which registries of older releases lack.
  'seal', to_jsonb(t) -> 'seal',
  'selection', to_jsonb(t) -> 'selection',
  'templates', to_jsonb(t) -> 'templates', 'broken', to_jsonb(t) -> 'broken',
  'found', {{seal}},
  'off', (
    select coalesce(json_agg(json_build_object('trigger', g.tgname, 'schema', gn.nspname, 'name', gc.relname) order by gc.relname, g.tgname), '[]')
    from pg_trigger g
    join pg_proc p on p.oid = g.tgfoid
    join pg_class gc on gc.oid = g.tgrelid
    join pg_namespace gn on gn.oid = gc.relnamespace
    where (g.tgrelid = t.relation or g.tgrelid = any (t.leaves)
           or g.tgrelid in (select i.inhrelid from pg_inherits i where i.inhparent = t.relation))
      and p.pronamespace = lc.relnamespace and g.tgenabled in ('D', 'R')))
  order by t.schema_name, t.table_name), '[]')
from {{schema}}.tables t
left join pg_class lc on lc.oid = t.log_relation
  and lc.relname = t.log_table
  and lc.relnamespace = (select oid from pg_namespace where nspname = {{schema_literal}})
