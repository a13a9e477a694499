-- The registry: one row per captured table.
-- columns: as published (name, type, base, …); objects: what was installed, by name, with a hash, so that a later
-- change by hand is noticed; definition: hash of the statements that installed it; seal: the row versions of what it
-- rests on, so that what was altered and put back is noticed too; selection: columns, masks and filter
-- that are compiled in, {} for the whole table.
create table {{schema}}.tables (
  relation      oid primary key,
  schema_name   text not null,
  table_name    text not null,
  log_table     text not null unique,
  log_relation  oid not null,
  key_columns   text[] not null,
  key_index     text not null,
  columns       jsonb not null,
  mode          text not null,
  version       integer not null,
  leaves        oid[] not null,
  definition    text not null,
  objects       jsonb not null,
  seal          jsonb,
  selection     jsonb,
  unique (schema_name, table_name)
);
