-- A type by the name that the source declares: whether it is there, and its labels when it is an enum.
select t.typtype = 'e',
       array(select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder)
from pg_type t
where t.oid = to_regtype($1::text)
