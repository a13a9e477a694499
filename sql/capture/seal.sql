-- What tells later whether anything was altered: the row versions (xmin) and files of what capture rests on. An object
-- that is altered and put back looks the same, but its row version is another one. 'tree' is the table and its
-- partitions; 'settings' are what may be altered about a column without touching a row; 'rewrites' are the transactions
-- that built the indexes, which a rewrite of the table does.
(select pg_catalog.jsonb_build_object(
  'triggers', (
    select coalesce(pg_catalog.jsonb_object_agg(g.oid::text, pg_catalog.jsonb_build_object(
      'name', g.tgname, 'table', g.tgrelid::pg_catalog.int8, 'version', pg_catalog.concat_ws('.', g.xmin, p.oid, p.xmin))), '{}')
    from pg_catalog.pg_trigger g
    join pg_catalog.pg_proc p on p.oid = g.tgfoid
    -- A partition that was detached keeps its TRUNCATE trigger, which is nobody's then.
    where g.tgrelid = any (tree.oids) and (g.tgrelid <> {{relation}} or g.tgtype::pg_catalog.int4 & 2 = 0)
      and p.pronamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}})),
  'columns', (
    select coalesce(pg_catalog.jsonb_object_agg(a.attnum::text, pg_catalog.jsonb_build_object(
      'name', a.attname, 'version', a.xmin::text, 'missing', a.atthasmissing,
      'settings', pg_catalog.md5(pg_catalog.concat_ws('|', a.attstattarget, a.attoptions::text, a.attacl::text, a.attnotnull,
        a.attstorage, a.attcompression, a.attidentity, d.oid, d.xmin)))), '{}')
    from pg_catalog.pg_attribute a
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = {{relation}} and a.attnum > 0 and not a.attisdropped),
  'files', (
    select coalesce(pg_catalog.jsonb_object_agg(c.oid::text, c.relfilenode::pg_catalog.int8), '{}')
    from pg_catalog.pg_class c where c.oid = any (tree.oids)),
  'partitions', (
    select coalesce(pg_catalog.jsonb_object_agg(c.oid::text, pg_catalog.concat(n.nspname, '.', c.relname)), '{}')
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = any (tree.oids) and c.relispartition),
  'rewrites', (
    select coalesce(pg_catalog.jsonb_agg(distinct ic.xmin::text), '[]')
    from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid where i.indrelid = any (tree.oids)),
  'log_file', (select c.relfilenode::pg_catalog.int8 from pg_catalog.pg_class c where c.oid = {{log_relation}}),
  'sequence', (
    select q.xmin::text
    from pg_catalog.pg_class c join pg_catalog.pg_sequence q on q.seqrelid = c.oid
    where c.relname = 'cdc_id_seq'
      and c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}})))
 from (
   select array(select {{relation}}::pg_catalog.oid
                union select t.relid from pg_catalog.pg_partition_tree({{relation}}::pg_catalog.oid::pg_catalog.regclass) t) as oids
 ) tree)
