-- What the session's role lacks of the rights with which changes are applied. $1: the tables that are applied to, where they
-- can be told.
with ours as (select n.oid, n.nspname from pg_namespace n where n.nspname = 'tripline'),
wanted(step, privilege, object, has) as (
  select 1, 'create', format('database %I', current_database()), has_database_privilege(current_database(), 'create')
  where not exists (select from ours)
  union all
  select 2, 'usage', format('schema %I', nspname), has_schema_privilege(oid, 'usage') from ours
  union all
  select 3, p.privilege, format('table %I.%I', ours.nspname, c.relname), has_table_privilege(c.oid, p.privilege)
  from ours join pg_class c on c.relnamespace = ours.oid and c.relkind = 'r',
       (values ('select'), ('insert'), ('update'), ('delete')) p(privilege)
  union all
  select distinct 4, 'usage', format('schema %I', n.nspname), has_schema_privilege(n.oid, 'usage')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any ($1::oid[])
  union all
  select 5, p.privilege, format('table %I.%I', n.nspname, c.relname), has_table_privilege(c.oid, p.privilege)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace,
       (values ('select'), ('insert'), ('update'), ('delete'), ('truncate')) p(privilege)
  where c.oid = any ($1::oid[]))
select current_user::text, privilege, object, format('grant %s on %s to %I', privilege, object, current_user)
from wanted where not has
order by step, object, privilege
