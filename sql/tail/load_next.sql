-- The request for existing rows that comes next.
select r.run, r.relation::pg_catalog.int8, r.sweeps, r.condition
from {{schema}}.snapshots r
where r.pipeline = {{pipeline}} and r.ended_at is null
order by r.run
limit 1
