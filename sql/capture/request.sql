-- Requests the existing rows of a table.
insert into {{schema}}.snapshots (pipeline, relation, table_name, sweeps, condition)
values ($1, $2, $3, $4, $5)
returning run
