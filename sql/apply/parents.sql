-- Tables that a destination table's foreign keys reference.
select coalesce(array_agg(distinct confrelid), '{}')
from pg_constraint
where conrelid = $1 and contype = 'f' and confrelid <> conrelid
