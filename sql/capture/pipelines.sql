-- The pipelines that read the log tables, with the positions that they acknowledged: retention asks all of them.
create table {{schema}}.pipelines (
  pipeline         text primary key,
  acknowledged     jsonb,
  acknowledged_at  timestamptz
);
