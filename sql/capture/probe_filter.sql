-- Fails unless the filter is a condition over the table's columns whose result depends on nothing else: the same that
-- PostgreSQL asks of an index. Rolled back.
create temporary table tripline_probe (like {{table}}) on commit drop;
create index on pg_temp.tripline_probe ((true)) where
{{filter}};
