-- What tables here were last made for: the one of this source table, and the one of this name.
select m.target, m.made, n.nspname::text, c.relname::text, m.relation = $2
from tripline.tables m
join pg_class c on c.oid = m.target
join pg_namespace n on n.oid = c.relnamespace
where m.pipeline = $1 and (m.relation = $2 or n.nspname = $3::text and c.relname = $4::text)
