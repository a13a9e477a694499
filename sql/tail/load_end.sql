-- A request is through: all of its rows are published, or the note says why there is nothing to publish.
update {{schema}}.snapshots
set ended_at = pg_catalog.clock_timestamp(), rows = {{rows}}, pass = {{pass}}, note = {{note}}
where pipeline = {{pipeline}} and run = {{run}} and ended_at is null
