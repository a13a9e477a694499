-- The salt of hashes that stand in for masked values. Not in the functions' text: every role may read that (pg_proc).
create table {{schema}}.salt (
  one   boolean primary key default true check (one),
  salt  text not null
);
revoke all on {{schema}}.salt from public;
