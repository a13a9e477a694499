-- Tables of which nothing is logged any more, because their log was full. Whoever notes one waits for nobody, so there is no
-- unique index, and transactions that do not see each other note the same gap. It concerns the functions of its generation
-- alone: those that init puts in place to end it have the next one, whatever an old snapshot shows of this table.
create table {{schema}}.gaps (
  relation      oid not null,
  generation    bigint not null,
  noted_at      timestamptz not null default clock_timestamp(),
  bytes         bigint not null,
  cleared_at    timestamptz
);
