-- Records what was installed.
insert into {{schema}}.tables (relation, schema_name, table_name, log_table, log_relation, key_columns, key_index,
  columns, mode, version, leaves, definition, objects, seal, selection)
values ({{relation}}, {{schema_name}}, {{table_name}}, {{log_table}},
  {{log_relation}}, {{key_array}}::text[], {{key_index}}, {{columns_json}}::jsonb, {{mode}}, {{version}},
  {{leaves}}::oid[], {{definition}}, {{objects}}, {{seal}}, {{selection}}::jsonb)
on conflict (log_table) do update set
  relation = excluded.relation, schema_name = excluded.schema_name, table_name = excluded.table_name,
  log_relation = excluded.log_relation, key_columns = excluded.key_columns, key_index = excluded.key_index,
  columns = excluded.columns, mode = excluded.mode, version = excluded.version, leaves = excluded.leaves,
  definition = excluded.definition, objects = excluded.objects, seal = excluded.seal,
  selection = excluded.selection;
