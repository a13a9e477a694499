-- The snapshot requests of a pipeline, oldest first.
select coalesce(json_agg(json_build_object(
  'run', r.run, 'sweeps', r.sweeps, 'partial', r.condition is not null, 'relation', r.relation::int8, 'table', r.table_name, 'rows', r.rows, 'expected', r.expected,
  'running', r.started_at is not null and r.ended_at is null, 'ended', r.ended_at is not null, 'note', r.note,
  'seconds', extract(epoch from coalesce(r.ended_at, clock_timestamp()) - r.started_at)::float8) order by r.run), '[]')
from {{schema}}.snapshots r
where r.pipeline = {{pipeline}}
