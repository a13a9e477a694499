-- A number that changes with every change of the catalog rows that capture depends on: oid and xmin of the captured
-- tables, their log tables and partitions, with columns, triggers, functions, indexes and inheritance, the sequence and
-- the registry. Sums do not depend on order; the scalar subqueries make every look-up one of an index.
(select pg_catalog.concat(
  pg_catalog.sum(
      (select pg_catalog.hashtextextended(c.xmin::text, c.oid::int8) from pg_catalog.pg_class c where c.oid = o.oid)
    + (select pg_catalog.sum(pg_catalog.hashtextextended(a.xmin::text, a.attnum)) from pg_catalog.pg_attribute a
       where a.attrelid = o.oid and a.attnum > 0)
    + (select coalesce(pg_catalog.sum(pg_catalog.hashtextextended(g.xmin::text || '.' || coalesce(p.xmin::text, ''), g.oid::int8)), 0)
       from pg_catalog.pg_trigger g
       left join pg_catalog.pg_proc p on p.oid = g.tgfoid and not g.tgisinternal where g.tgrelid = o.oid)
    + (select coalesce(pg_catalog.sum(pg_catalog.hashtextextended(i.xmin::text, i.indexrelid::int8)), 0)
       from pg_catalog.pg_index i where i.indrelid = o.oid)
    + (select coalesce(pg_catalog.sum(pg_catalog.hashtextextended(h.xmin::text, h.inhparent::int8)), 0)
       from pg_catalog.pg_inherits h where h.inhrelid = o.oid)
    + (select coalesce(pg_catalog.sum(pg_catalog.hashtextextended(h.xmin::text, h.inhrelid::int8)), 0)
       from pg_catalog.pg_inherits h where h.inhparent = o.oid)), '/',
  pg_catalog.count(*), '/',
  (select pg_catalog.concat(q.xmin, '.', c.xmin)
   from pg_catalog.pg_class c join pg_catalog.pg_sequence q on q.seqrelid = c.oid
   where c.relname = 'cdc_id_seq'
     and c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}})), '/',
  (select pg_catalog.sum(pg_catalog.hashtextextended(r.xmin::text, r.relation::int8)) from {{schema}}.tables r))
 from (
   select t.relation as oid from {{schema}}.tables t
   union all
   select t.log_relation from {{schema}}.tables t
   union all
   select pg_catalog.unnest(t.leaves) from {{schema}}.tables t
 ) o)
