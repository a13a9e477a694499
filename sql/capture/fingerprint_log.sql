-- What log rows are read by: xmin of the registry's rows, of the log tables and their columns and indexes, of the sequence.
-- One scan of an index per catalog; sums do not depend on order.
(select pg_catalog.concat_ws('/',
  (select pg_catalog.concat(pg_catalog.count(*), '.', pg_catalog.sum(pg_catalog.hashtextextended(r.xmin::text, r.relation::int8)))
   from {{schema}}.tables r),
  (select pg_catalog.sum(pg_catalog.hashtextextended(c.xmin::text, c.oid::int8))
   from pg_catalog.pg_class c where c.oid = any (array(select t.log_relation from {{schema}}.tables t))),
  (select pg_catalog.sum(pg_catalog.hashtextextended(a.xmin::text, (a.attrelid::int8 << 16) + a.attnum))
   from pg_catalog.pg_attribute a
   where a.attrelid = any (array(select t.log_relation from {{schema}}.tables t)) and a.attnum > 0),
  (select pg_catalog.sum(pg_catalog.hashtextextended(i.xmin::text, i.indexrelid::int8))
   from pg_catalog.pg_index i where i.indrelid = any (array(select t.log_relation from {{schema}}.tables t))),
  (select pg_catalog.concat(q.xmin, '.', c.xmin)
   from pg_catalog.pg_class c join pg_catalog.pg_sequence q on q.seqrelid = c.oid
   where c.relname = 'cdc_id_seq'
     and c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}}))))
