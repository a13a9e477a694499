-- Columns of a destination table. attgenerated does not exist before PostgreSQL 12, hence the detour. The delimiter is
-- that of an array's elements, also where the array is behind domains.
select a.attname::text,
       format_type(a.atttypid, a.atttypmod),
       a.attnotnull,
       a.atthasdef,
       a.attidentity::text,
       coalesce(to_jsonb(a) ->> 'attgenerated', '') <> '',
       (with recursive chain (oid, base) as (
            select t.oid, t.typbasetype from pg_type t where t.oid = a.atttypid
            union all
            select t.oid, t.typbasetype from chain c join pg_type t on t.oid = c.base)
        select e.typdelim::text from chain c join pg_type e on e.typarray = c.oid limit 1),
       a.attnum
from pg_attribute a
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum
