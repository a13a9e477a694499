-- Requests for existing rows: tripline init makes one for every table that a pipeline meets for the first time, tripline
-- snapshot any other. The publisher works them off one after the other.
create table {{schema}}.snapshots (
  pipeline      text not null,
  -- Drawn from the ids' own sequence: whatever was published before the request has a lower id.
  run           bigint not null default nextval({{sequence_literal}}::regclass),
  relation      oid not null,
  table_name    text not null,
  -- Rows that are gone at the source are removed at the targets.
  sweeps        boolean not null,
  condition     text,
  requested_at  timestamptz not null default clock_timestamp(),
  started_at    timestamptz,
  ended_at      timestamptz,
  expected      bigint,
  rows          bigint not null default 0,
  -- The pass of the last chunk: targets that have applied it have all of the rows.
  pass          bigint,
  note          text,
  primary key (pipeline, run)
);
