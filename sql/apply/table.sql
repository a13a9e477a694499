-- A destination table by schema and name.
select c.oid, c.relkind in ('r', 'p') as is_table, c.relhasrules
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1::text and c.relname = $2::text
