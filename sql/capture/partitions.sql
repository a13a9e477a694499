-- The newest partitions of captured tables: those with rows that the registry does not know of, each with what tells since
-- when its rows are captured: the row of the clone of our trigger.
select coalesce(json_agg(json_build_object(
  'relation', t.relation::int8, 'schema', n.nspname, 'name', c.relname,
  -- A table's first file has its own number: TRUNCATE and other rewrites give it another one.
  'rewritten', c.relfilenode <> c.oid,
  'since', g.xmin::text, 'command', g.cmin::text::int8) order by n.nspname, c.relname), '[]')
from {{schema}}.tables t
cross join lateral pg_partition_tree(t.relation) p
join pg_class c on c.oid = p.relid
join pg_namespace n on n.oid = c.relnamespace
left join lateral (
  select g.xmin, g.cmin
  from pg_trigger g
  join pg_proc f on f.oid = g.tgfoid
  where g.tgrelid = c.oid and g.tgparentid <> 0 and g.tgtype::int & 1 = 1
    and f.pronamespace = (select s.oid from pg_namespace s where s.nspname = {{schema_literal}})
  limit 1) g on true
where c.relkind = 'r' and p.relid::oid <> t.relation and not p.relid::oid = any (t.leaves)
