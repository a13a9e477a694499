-- Gives up the requests of a pipeline for a table that are not through.
update {{schema}}.snapshots set ended_at = clock_timestamp(), note = 'cancelled'
where pipeline = $1 and relation = $2 and ended_at is null
returning run
