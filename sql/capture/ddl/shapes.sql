-- Shapes that tables had before, of which log rows above {{settled}} may still be unread. names: of the log columns, as they
-- are called now.
select coalesce(json_agg(json_build_object(
  'relation', s.relation::int8, 'schema', s.schema_name, 'name', s.table_name, 'log_table', s.log_table,
  'key', s.key_columns, 'columns', s.columns, 'mode', s.mode, 'version', s.version,
  'after', s.after_id, 'until', s.until_id, 'dropped', s.dropped, 'named_by_ddl', true,
  'names', (
    select json_agg(a.attname order by l.n)
    from unnest(s.log_columns) with ordinality l(number, n)
    join pg_attribute a on a.attrelid = c.oid and a.attnum = l.number and not a.attisdropped))
  order by s.schema_name, s.table_name, s.version), '[]')
from {{schema}}.shapes s
join pg_class c on c.relname = s.log_table
  and c.relnamespace = (select n.oid from pg_namespace n where n.nspname = {{schema_literal}})
where s.until_id > {{settled}}
