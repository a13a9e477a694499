-- Ends the gap of a table: the functions that stand behind this have the next generation.
update {{schema}}.gaps set cleared_at = pg_catalog.clock_timestamp() where relation = {{relation}} and cleared_at is null;
