-- What the session's role lacks of the rights with which log rows are removed.
with ours as (select n.oid, n.nspname from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}}),
wanted(step, privilege, object, has) as (
  select 1, 'usage', pg_catalog.format('schema %I', o.nspname), pg_catalog.has_schema_privilege(o.oid, 'usage') from ours o
  union all
  select 2, p.privilege, pg_catalog.format('table %I.%I', o.nspname, c.relname), pg_catalog.has_table_privilege(c.oid, p.privilege)
  from ours o
  join pg_catalog.pg_class c on c.relnamespace = o.oid and c.relkind = 'r',
  (values ('select'), ('insert'), ('update'), ('delete')) p(privilege)
  where case
    when c.relname in ('pipelines', 'tables', 'gaps') then p.privilege = 'select'
    when c.relname = 'retention' then p.privilege <> 'delete'
    else p.privilege in ('select', 'delete')
      and exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'cdc_txid' and a.attnum = 1)
  end)
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
  'role', current_user, 'right', privilege, 'object', object, 'for_copies', false,
  'grant', pg_catalog.format('grant %s on %s to %I', privilege, object, current_user)) order by step, object, privilege), '[]')
from wanted where not has
