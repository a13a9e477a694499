-- Columns of a destination table: type with and without length, and whether it is a type of the server's own.
select a.attname::text,
       format_type(a.atttypid, a.atttypmod),
       format_type(a.atttypid, null),
       t.typnamespace = 'pg_catalog'::regnamespace,
       coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
where n.nspname = $1::text and c.relname = $2::text and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
order by a.attnum
