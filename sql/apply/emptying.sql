-- Of tables to be emptied: whether the role may TRUNCATE them, and which other tables reference them.
select t.oid,
       has_table_privilege(t.oid, 'TRUNCATE'),
       array(
           select c.conrelid from pg_constraint c
           where c.confrelid = t.oid and c.contype = 'f' and c.conrelid <> t.oid and c.conparentid = 0
       )
from unnest($1::oid[]) t (oid)
