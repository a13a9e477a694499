-- {{released}}: up to where a pipeline p needs no rows of this log table.
--
-- Removes the oldest rows of a log table that no pipeline needs, in the order of their ids, up to the first that is too young;
-- and notes how far, in the same transaction. Behind the lock under which pipelines register, so that what they have said holds.
-- No row is asked whether it is visible to them: at and below an offset everything is settled, published or never to come.
with bound as (
  select pg_catalog.min({{released}}) as id
  from {{schema}}.pipelines p
  having pg_catalog.bool_and(coalesce(p.acknowledged ? 'anchor', false))
),
old as materialized (
  select l.cdc_id, l.cdc_txid, l.cdc_at
  from {{log}} l
  where l.cdc_id > {{cursor}} and l.cdc_id <= (select b.id from bound b)
  order by l.cdc_id
  limit {{rows}}
),
young as (
  select pg_catalog.min(o.cdc_id) as id from old o
  where o.cdc_at >= pg_catalog.statement_timestamp() - pg_catalog.make_interval(hours => {{keep_hours}})
),
last as materialized (
  select pg_catalog.max(o.cdc_id) as id from old o where o.cdc_id < coalesce((select y.id from young y), 9223372036854775807)
),
gone as (
  delete from {{log}} l where l.cdc_id > {{cursor}} and l.cdc_id <= (select x.id from last x) returning l.cdc_id
),
noted as (
  insert into {{schema}}.retention as r (log_table, removed_to, removed_xid, removed_at, rows)
  select {{log_literal}}, pg_catalog.max(o.cdc_id),
         (select t.cdc_txid from old t where t.cdc_id <= (select x.id from last x) order by t.cdc_txid desc limit 1),
         pg_catalog.max(o.cdc_at), pg_catalog.count(*)
  from old o
  where o.cdc_id <= (select x.id from last x)
  having pg_catalog.count(*) > 0
  on conflict (log_table) do update set
    removed_to = greatest(r.removed_to, excluded.removed_to),
    removed_xid = case when r.removed_xid > excluded.removed_xid then r.removed_xid else excluded.removed_xid end,
    removed_at = greatest(r.removed_at, excluded.removed_at), rows = r.rows + excluded.rows, at = pg_catalog.clock_timestamp()
)
select (select pg_catalog.count(*) from gone), (select pg_catalog.max(g.cdc_id) from gone g);
