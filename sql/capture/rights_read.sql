-- What the session's role lacks of the rights with which the log is read and published.
with ours as (select n.oid, n.nspname from pg_namespace n where n.nspname = {{schema_literal}}),
captured as (
  select distinct c.oid, n.oid as schema, n.nspname, c.relname
  from pg_trigger g
  join pg_proc p on p.oid = g.tgfoid
  join ours on ours.oid = p.pronamespace
  join pg_class c on c.oid = g.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  where not g.tgisinternal and not c.relispartition),
wanted(step, privilege, object, has, for_copies) as (
  select 1, 'usage', format('schema %I', nspname), has_schema_privilege(oid, 'usage'), false from ours
  union all
  -- Of the salt nobody but the owner has any use.
  select 2, 'select', format('table %I.%I', ours.nspname, c.relname), has_table_privilege(c.oid, 'select'), false
  from ours join pg_class c on c.relnamespace = ours.oid and c.relkind = 'r' and c.relname <> 'salt'
  union all
  select 3, p.privilege, format('table %I.%I', ours.nspname, c.relname), has_table_privilege(c.oid, p.privilege), false
  from ours join pg_class c on c.relnamespace = ours.oid and c.relname in ('pipelines', 'snapshots'),
       (values ('insert'), ('update')) p(privilege)
  union all
  select 4, p.privilege, format('sequence %I.%I', ours.nspname, c.relname), has_sequence_privilege(c.oid, p.privilege), p.copies
  from ours join pg_class c on c.relnamespace = ours.oid and c.relname = 'cdc_id_seq',
       (values ('select', false), ('usage', true)) p(privilege, copies)
  union all
  select distinct 5, 'usage', format('schema %I', nspname), has_schema_privilege(schema, 'usage'), true from captured
  union all
  -- Some columns may be all that is captured.
  select 6, 'select', format('table %I.%I', nspname, relname), has_any_column_privilege(oid, 'select'), true from captured)
select coalesce(json_agg(json_build_object(
  'role', current_user, 'right', privilege, 'object', object, 'for_copies', for_copies,
  'grant', format('grant %s on %s to %I', privilege, object, current_user)) order by step, object, privilege), '[]')
from wanted where not has
