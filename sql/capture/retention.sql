-- How far retention has removed the rows of each log table, written in the transactions that remove them: all that it removed
-- lies at or below removed_to, was written by transactions up to removed_xid, and was logged up to removed_at.
create table {{schema}}.retention (
  log_table     text primary key,
  removed_to    bigint not null,
  removed_xid   xid8 not null,
  removed_at    timestamptz not null,
  rows          bigint not null,
  at            timestamptz not null default clock_timestamp()
);
