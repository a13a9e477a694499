-- Unique indexes that ON CONFLICT can use, with the operator that each takes for equality: the search path would not
-- find the one of an extension's type. Keys WITHOUT OVERLAPS are unique too, but no btree: ON CONFLICT cannot use them.
select array_agg(a.attname::text order by k.n),
       array_agg(opn.nspname::text order by k.n),
       array_agg(o.oprname::text order by k.n)
from pg_index i
cross join generate_series(0, i.indnkeyatts - 1) k (n)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[k.n]
join pg_opclass opc on opc.oid = i.indclass[k.n]
join pg_am method on method.oid = opc.opcmethod and method.amname = 'btree'
join pg_amop am on am.amopfamily = opc.opcfamily and am.amopstrategy = 3
    and am.amoplefttype = opc.opcintype and am.amoprighttype = opc.opcintype
join pg_operator o on o.oid = am.amopopr
join pg_namespace opn on opn.oid = o.oprnamespace
where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indimmediate
  and i.indpred is null and i.indexprs is null
group by i.indexrelid, i.indisprimary
order by i.indisprimary desc, i.indexrelid
