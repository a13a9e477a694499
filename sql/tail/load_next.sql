-- The request for existing rows that comes next.
select r.run, r.relation::pg_catalog.int8, r.sweeps, r.condition
from {{schema}}.snapshots r
where r.pipeline = {{pipeline}} and r.ended_at is null
-- Those that wait for the offset let others go first.
order by (r.sweeps or r.condition is not null) and r.run > {{offset}}, r.run
limit 1
