-- Which tables reference which.
select coalesce(json_agg(json_build_array(c.conrelid::int8, c.confrelid::int8)), '[]')
from pg_constraint c
where c.contype = 'f' and c.conrelid <> c.confrelid
