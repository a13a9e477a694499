-- The registry's rows as the daemon needs them.
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
  'relation', t.relation::pg_catalog.int8, 'schema', t.schema_name, 'name', t.table_name, 'log_table', t.log_table,
  'key', t.key_columns, 'columns', t.columns, 'mode', t.mode, 'version', t.version,
  -- By name of the column, which registries of older releases lack.
  'selection', pg_catalog.to_jsonb(t) -> 'selection',
  'after', pg_catalog.to_jsonb(t) -> 'after_id', 'named_by_ddl', pg_catalog.to_jsonb(t) -> 'named_by_ddl')
  order by t.schema_name, t.table_name), '[]')
from {{schema}}.tables t
