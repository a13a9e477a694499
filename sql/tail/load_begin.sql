-- A request is taken up: how many rows to expect, as the last ANALYZE or VACUUM saw them.
update {{schema}}.snapshots r
set started_at = coalesce(r.started_at, pg_catalog.clock_timestamp()),
    expected = (
      select pg_catalog.sum(c.reltuples)::pg_catalog.int8
      from pg_catalog.pg_class c
      where c.reltuples > 0 and (c.oid = r.relation or c.oid in (select p.relid from pg_catalog.pg_partition_tree(r.relation) p where p.isleaf)))
where r.pipeline = {{pipeline}} and r.run = {{run}}
