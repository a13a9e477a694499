-- Says how far a pipeline is: what snapshot B shows and what lies at or below the offset, it needs no more.
insert into {{schema}}.pipelines (pipeline, acknowledged, acknowledged_at)
values ({{pipeline}}, pg_catalog.jsonb_build_object('base', {{base}}, 'offset', {{offset}}), pg_catalog.clock_timestamp())
on conflict (pipeline) do update
set acknowledged = excluded.acknowledged, acknowledged_at = excluded.acknowledged_at
