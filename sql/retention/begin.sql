-- A short transaction: who wants the table waits for one batch at most, and we do not make others wait behind us.
-- Read committed, whatever the role's default: what is read behind the lock shows who registered while we waited for it.
begin isolation level read committed;
set local search_path = pg_catalog;
set local lock_timeout = '1s';
set local statement_timeout = '60s';
set local synchronous_commit = off;
set local enable_seqscan = off;
set local enable_bitmapscan = off;
set local jit = off;
set local row_security = off;
select pg_catalog.pg_advisory_xact_lock({{key}});
