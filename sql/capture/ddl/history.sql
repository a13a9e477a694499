-- Which names and versions were there before, what is called what in our schema, and the signature of a pipeline's patterns.
select json_build_object(
  'versions', (
    select coalesce(json_agg(json_build_object('schema', s.schema_name, 'name', s.table_name, 'version', s.version)), '[]')
    from (select schema_name, table_name, max(version) as version from {{schema}}.shapes group by 1, 2) s),
  'relations', (
    select coalesce(json_agg(c.relname), '[]') from pg_class c
    where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = {{schema_literal}})),
  'patterns', (select p.sign from {{schema}}.patterns p where p.pipeline = {{pipeline}}))
