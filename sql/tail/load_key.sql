-- The key columns of a captured table in the order of its index, with the index's own operators: < > =, whether (a, b) > (x, y)
-- means the same, and the type of a literal.
select a.attname, o.lt, o.gt, o.eq, oc.opcdefault and o.builtin, pg_catalog.format_type(a.atttypid, a.atttypmod)
       -- The column's own collation, where it is not the type's.
       || coalesce((select pg_catalog.format(' collate %I.%I', n.nspname, l.collname)
                    from pg_catalog.pg_collation l
                    join pg_catalog.pg_namespace n on n.oid = l.collnamespace
                    join pg_catalog.pg_type ty on ty.oid = a.atttypid
                    where l.oid = a.attcollation and l.oid <> ty.typcollation), '')
from {{schema}}.tables t
join pg_catalog.pg_index i on i.indrelid = t.relation
join pg_catalog.pg_class ic on ic.oid = i.indexrelid and ic.relname = t.key_index
cross join pg_catalog.generate_series(0, i.indnkeyatts - 1) k(n)
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[k.n]
join pg_catalog.pg_opclass oc on oc.oid = i.indclass[k.n]
cross join lateral (
  select pg_catalog.max(f.op) filter (where f.amopstrategy = 1) as lt,
         pg_catalog.max(f.op) filter (where f.amopstrategy = 5) as gt,
         pg_catalog.max(f.op) filter (where f.amopstrategy = 3) as eq,
         pg_catalog.bool_and(f.nspname = 'pg_catalog') as builtin
  from (
    select m.amopstrategy, n.nspname, pg_catalog.format('operator(%I.%s)', n.nspname, p.oprname) as op
    from pg_catalog.pg_amop m
    join pg_catalog.pg_operator p on p.oid = m.amopopr
    join pg_catalog.pg_namespace n on n.oid = p.oprnamespace
    where m.amopfamily = oc.opcfamily and m.amoplefttype = oc.opcintype and m.amoprighttype = oc.opcintype) f) o
where t.relation = {{relation}}
order by k.n
