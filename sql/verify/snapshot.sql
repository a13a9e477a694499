-- The snapshot that the source shows, and which cluster it is.
select pg_current_snapshot()::text, (select system_identifier from pg_control_system())
