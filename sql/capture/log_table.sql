-- A log table. cdc_txid comes first: defaults are evaluated in column order, so the id is drawn after the transaction
-- has its number. The settings are those of log_storage.sql.
create table {{log}} (
  cdc_txid xid8 not null default pg_catalog.pg_current_xact_id(),
  cdc_id bigint primary key default pg_catalog.nextval({{sequence_literal}}::pg_catalog.regclass),
  cdc_op "char" not null,
  cdc_at timestamptz not null default pg_catalog.clock_timestamp(),
  {{column_definitions}}
) with ({{settings}});
