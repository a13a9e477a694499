-- What a position that is moved back to {{offset}} would publish again, and the oldest transaction that it may not take
-- for settled: of the rows above it, or one that is still open.
select least(
         pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::numeric,
         (select pg_catalog.min(l.cdc_txid::text::numeric) from ({{logs}}) l where l.cdc_id > {{offset}}))::text,
       (select pg_catalog.count(*) from ({{logs}}) l where l.cdc_id > {{offset}})::text
