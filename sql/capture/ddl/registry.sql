-- What following DDL inside the source takes, beside the registry of older releases.
-- log_columns: attnum in the log table of each element of columns; after_id: log rows above it have this shape;
-- templates: statements of the table with its columns left open (src/capture/template.rs); broken: why the event triggers
-- could not follow, until init puts the table right.
alter table {{schema}}.tables
  add column if not exists log_columns int2[],
  add column if not exists after_id bigint not null default 0,
  add column if not exists templates jsonb,
  -- Its columns as they were when init saw them, for tables of which not everything is captured.
  add column if not exists seen jsonb,
  add column if not exists broken text,
  -- DDL gave it its name, so its topic may be missing; until init sees it.
  add column if not exists named_by_ddl boolean not null default false;

-- Shapes that tables had before: which log rows have them (above after_id, up to until_id). A dropped table is only here.
create table if not exists {{schema}}.shapes (
  log_table     text not null,
  version       integer not null,
  relation      oid not null,
  schema_name   text not null,
  table_name    text not null,
  key_columns   text[] not null,
  columns       jsonb not null,
  log_columns   int2[] not null,
  mode          text not null,
  after_id      bigint not null,
  until_id      bigint not null,
  -- Its table was dropped.
  dropped       boolean not null,
  primary key (schema_name, table_name, version)
);

-- Which new tables the pipelines want (as LIKE patterns over schema.table), and how they are captured.
create table if not exists {{schema}}.patterns (
  pipeline      text primary key,
  include       text[] not null,
  exclude       text[] not null,
  mode          text not null,
  templates     jsonb not null,
  -- Of the statement that wrote it.
  sign          text not null
);
