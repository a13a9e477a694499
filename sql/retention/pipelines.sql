-- The pipelines that read the log, with what each has said that it needs no more: nothing, where an older release registered
-- it, which does not say what it looks up at a restart. Offsets settle all that lies at or below them (docs/tail.md).
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
  'name', p.pipeline, 'offset', coalesce((p.acknowledged ->> 'offset')::int8, 0),
  'releases', case when p.acknowledged ? 'anchor'
    then least((p.acknowledged ->> 'offset')::int8, (p.acknowledged ->> 'anchor')::int8 - 1) end,
  'seconds', extract(epoch from pg_catalog.clock_timestamp() - p.acknowledged_at)::float8) order by p.pipeline), '[]')
from {{schema}}.pipelines p
