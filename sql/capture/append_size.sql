-- Bytes that a table takes, with its partitions.
select pg_catalog.to_json(coalesce(pg_catalog.sum(pg_catalog.pg_table_size(c.oid)), 0))
from pg_catalog.pg_class c
where c.oid = {{relation}} or c.oid in (select p.relid from pg_catalog.pg_partition_tree({{relation}}) p)
