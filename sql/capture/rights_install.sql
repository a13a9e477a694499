-- What the session's role lacks of the rights with which capture is installed; where {{owner}}, also of those that only an
-- owner has, who alone may drop a trigger or switch it on.
with ours as (select n.oid, n.nspname, n.nspowner from pg_namespace n where n.nspname = {{schema_literal}}),
captured as (
  select distinct c.oid, n.nspname, c.relname, c.relowner
  from pg_trigger g
  join pg_proc p on p.oid = g.tgfoid
  join ours on ours.oid = p.pronamespace
  join pg_class c on c.oid = g.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  where not g.tgisinternal),
wanted(step, privilege, object, has, given) as (
  select 1, 'create', format('database %I', current_database()), has_database_privilege(current_database(), 'create'), null
  where not exists (select from ours)
  union all
  select 2, 'ownership', format('schema %I', nspname), pg_has_role(nspowner, 'usage'), nspowner from ours
  union all
  select 3, p.privilege, format('table %I.%I', nspname, relname), has_table_privilege(oid, p.privilege), null
  from captured, (values ('select'), ('trigger')) p(privilege)
  union all
  select 4, 'ownership', format('table %I.%I', nspname, relname), pg_has_role(relowner, 'usage'), relowner
  from captured where {{owner}}
  union all
  select 5, 'ownership', format('table %I.%I', ours.nspname, c.relname), pg_has_role(c.relowner, 'usage'), c.relowner
  from ours join pg_class c on c.relnamespace = ours.oid and c.relkind = 'r')
select coalesce(json_agg(json_build_object(
  'role', current_user, 'right', privilege, 'object', object, 'for_copies', false,
  'grant', case when given is null then format('grant %s on %s to %I', privilege, object, current_user)
    else format('grant %I to %I', pg_get_userbyid(given), current_user) end) order by step, object, privilege), '[]')
from wanted where not has
