-- Tables that a destination table's foreign keys reference; whether deleting one of its own rows changes rows that
-- reference it.
select coalesce(array_agg(distinct confrelid) filter (where conrelid = $1 and confrelid <> $1), '{}'),
       coalesce(bool_or(confrelid = $1 and confdeltype in ('c', 'n', 'd')), false)
from pg_constraint
where $1 in (conrelid, confrelid) and contype = 'f'
