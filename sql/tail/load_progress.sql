-- How far a request is, for people.
update {{schema}}.snapshots set rows = {{rows}} where pipeline = {{pipeline}} and run = {{run}}
