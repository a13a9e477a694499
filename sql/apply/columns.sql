-- Columns of a destination table. attgenerated does not exist before PostgreSQL 12, hence the detour.
select a.attname::text,
       format_type(a.atttypid, a.atttypmod),
       a.attnotnull,
       a.atthasdef,
       a.attidentity::text,
       coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''
from pg_attribute a
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum
