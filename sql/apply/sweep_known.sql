-- Fails when the beginning was never applied here.
select 1 / count(*) from tripline.sweeps where pipeline = {pipeline} and table_name = {table} and run = {run}
