-- Says how far a pipeline is: what snapshot B shows and what lies at or below the offset, it needs no more, but for the rows
-- from the anchor on, which it looks up at a restart. Pass and part tell later whether a position is an older one.
insert into {{schema}}.pipelines (pipeline, acknowledged, acknowledged_at)
values ({{pipeline}}, pg_catalog.jsonb_build_object('base', {{base}}, 'offset', {{offset}}, 'anchor', {{anchor}},
  'pass', {{pass}}, 'part', {{part}}), pg_catalog.clock_timestamp())
on conflict (pipeline) do update
set acknowledged = excluded.acknowledged, acknowledged_at = excluded.acknowledged_at
