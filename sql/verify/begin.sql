-- Opens one side of a comparison. The tables are locked before the snapshot is taken, because TRUNCATE is not MVCC:
-- behind it an older snapshot would see an empty table. It is the lock that every SELECT takes.
rollback;
begin isolation level repeatable read read only;
{{exact_text}}
set local statement_timeout = 0;
set local idle_in_transaction_session_timeout = 0;
{{lift}}
set local lock_timeout = '2s';
-- A hidden row must be an error, not a difference.
set local row_security = off;
set local jit = off;
lock table {{tables}} in access share mode;
