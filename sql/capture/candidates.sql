-- Every relation that a pattern could name; root: the partitioned table at the top, for partitions.
select coalesce(json_agg(json_build_object(
  'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname,
  'root', case when c.relispartition then
      pg_partition_root(c.oid)::oid::int8 end)
  order by n.nspname, c.relname), '[]')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'f') and c.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', {{schema_literal}}) and n.nspname !~ '^pg_'
