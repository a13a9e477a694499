-- Does this transaction keep writers away from a table, as CREATE TRIGGER does?
select to_json(exists (
  select from pg_locks l
  where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation = {{relation}}
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.mode in ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')))
