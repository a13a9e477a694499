-- The last gap of each captured table, and the size of its log.
select coalesce(json_agg(json_build_object(
  'relation', t.relation::int8, 'schema', t.schema_name, 'name', t.table_name, 'log_table', t.log_table,
  'generation', g.generation, 'open', g.open,
  'seconds', g.seconds, 'bytes', coalesce(pg_total_relation_size(c.oid), 0)) order by t.schema_name, t.table_name), '[]')
from {{schema}}.tables t
join (
  select distinct on (g.relation) g.relation, g.generation, g.cleared_at is null as open,
         extract(epoch from clock_timestamp() - g.noted_at)::float8 as seconds
  from {{schema}}.gaps g
  order by g.relation, g.generation desc, g.cleared_at nulls first, g.noted_at) g on g.relation = t.relation
-- NULL of the size where the log table is gone.
left join pg_class c on c.oid = t.log_relation
