-- Fails when the beginning was never applied here, or on another server.
select 1 / count(*) from tripline.sweeps
where pipeline = {pipeline} and table_name = {table} and run = {run} and began <= pg_current_xact_id()
