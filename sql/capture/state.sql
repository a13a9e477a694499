-- What stands of our own objects.
select json_build_object(
  'server', current_setting('server_version_num')::int,
  'recovery', pg_is_in_recovery(),
  'schema', exists (select from pg_namespace where nspname = {{schema_literal}}),
  'tables', exists (select from pg_class c where c.relnamespace = s.oid and c.relname = 'tables' and c.relkind = 'r'),
  'seal', exists (
    select from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'seal'
    where c.relnamespace = s.oid and c.relname = 'tables'),
  'selection', exists (
    select from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'selection'
    where c.relnamespace = s.oid and c.relname = 'tables'),
  'salt', (
    select has_table_privilege(c.oid, 'select')
    from pg_class c where c.relnamespace = s.oid and c.relname = 'salt' and c.relkind = 'r'),
  -- What following DDL takes: its functions (signed in a comment) and the event triggers that run them.
  'library', (
    select obj_description(p.oid, 'pg_proc') from pg_proc p where p.pronamespace = s.oid and p.proname = 'on_drop'),
  'events', (
    select count(*) = 2 and bool_or('ALTER EXTENSION' = any (e.evttags)) from pg_event_trigger e join pg_proc p on p.oid = e.evtfoid
    where p.pronamespace = s.oid and e.evtenabled in ('O', 'A')),
  'pipelines', exists (select from pg_class c where c.relnamespace = s.oid and c.relname = 'pipelines' and c.relkind = 'r'),
  'retention', exists (select from pg_class c where c.relnamespace = s.oid and c.relname = 'retention' and c.relkind = 'r'),
  'gaps', exists (select from pg_class c where c.relnamespace = s.oid and c.relname = 'gaps' and c.relkind = 'r'),
  'snapshots', exists (select from pg_class c where c.relnamespace = s.oid and c.relname = 'snapshots' and c.relkind = 'r'),
  'sequence', (
    select q.seqcache = 1 and not q.seqcycle and q.seqincrement = 1
    from pg_class c join pg_sequence q on q.seqrelid = c.oid where c.relnamespace = s.oid and c.relname = 'cdc_id_seq'))
from (values (1)) one
left join pg_namespace s on s.nspname = {{schema_literal}}
