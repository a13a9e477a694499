-- Records what following DDL takes; init has put the table right.
update {{schema}}.tables t set templates = {{templates}}::pg_catalog.jsonb, broken = null, named_by_ddl = false,
  seen = {{schema}}.describe(array[t.relation]) -> 0 -> 'columns',
  log_columns = {{schema}}.log_numbers(t.log_relation, t.columns)
where t.relation = {{relation}};
