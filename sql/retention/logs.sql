-- The log tables, those of dropped tables too: what each takes with its index, and how far its rows were removed.
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
  'name', c.relname, 'bytes', coalesce(pg_catalog.pg_total_relation_size(c.oid), 0),
  'table', case when t.relation is not null then t.schema_name || '.' || t.table_name end,
  'removed_to', coalesce(r.removed_to, 0)) order by c.relname), '[]')
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'cdc_txid' and a.attnum = 1
left join {{schema}}.tables t on t.log_relation = c.oid
left join {{removed}} r on r.log_table = c.relname
where c.relkind = 'r' and c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}})
