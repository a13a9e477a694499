-- How far a request is, for people. Empty when it was given up.
update {{schema}}.snapshots set rows = {{rows}}
where pipeline = {{pipeline}} and run = {{run}} and ended_at is null
returning run
