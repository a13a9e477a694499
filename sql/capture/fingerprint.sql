-- The rest of what capture depends on: xmin of the captured tables and their partitions, with columns, indexes and
-- inheritance, and of all triggers with their functions. One scan of an index per catalog; sums do not depend on order.
(with o as materialized (
   select array(select t.relation from {{schema}}.tables t
                union all
                select pg_catalog.unnest(t.leaves) from {{schema}}.tables t) as sources,
          array(select t.log_relation from {{schema}}.tables t) as logs)
 select pg_catalog.concat_ws('/',
  (select pg_catalog.concat(pg_catalog.count(*), '.', pg_catalog.sum(pg_catalog.hashtextextended(c.xmin::text, c.oid::int8)))
   from pg_catalog.pg_class c where c.oid = any ((select o.sources from o)::pg_catalog.oid[])),
  (select pg_catalog.sum(pg_catalog.hashtextextended(a.xmin::text, (a.attrelid::int8 << 16) + a.attnum))
   from pg_catalog.pg_attribute a
   where a.attrelid = any ((select o.sources from o)::pg_catalog.oid[]) and a.attnum > 0),
  (select pg_catalog.sum(pg_catalog.hashtextextended(i.xmin::text, i.indexrelid::int8))
   from pg_catalog.pg_index i where i.indrelid = any ((select o.sources from o)::pg_catalog.oid[])),
  (select pg_catalog.sum(pg_catalog.hashtextextended(h.xmin::text, (h.inhrelid::int8 << 32) + h.inhparent::int8))
   from pg_catalog.pg_inherits h where h.inhrelid = any ((select o.sources || o.logs from o)::pg_catalog.oid[])),
  (select pg_catalog.sum(pg_catalog.hashtextextended(h.xmin::text, (h.inhrelid::int8 << 32) + h.inhparent::int8))
   from pg_catalog.pg_inherits h where h.inhparent = any ((select o.sources || o.logs from o)::pg_catalog.oid[])),
  (select pg_catalog.concat(
     pg_catalog.sum(pg_catalog.hashtextextended(g.xmin::text, g.oid::int8)), '.',
     (select pg_catalog.sum(pg_catalog.hashtextextended(p.xmin::text, p.oid::int8))
      from pg_catalog.pg_proc p where p.oid = any (pg_catalog.array_agg(g.tgfoid) filter (where not g.tgisinternal))))
   from pg_catalog.pg_trigger g
   where g.tgrelid = any ((select o.sources || o.logs from o)::pg_catalog.oid[]))))
