-- What init and verify need to know of tables, as JSON. Read with search_path = pg_catalog.
select coalesce(json_agg(json_build_object(
  'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'unlogged', c.relpersistence = 'u',
  'partition', c.relispartition,
  'inherits', exists (select from pg_inherits i where i.inhrelid = c.oid) and not c.relispartition
           or exists (select from pg_inherits i where i.inhparent = c.oid) and c.relkind = 'r',
  -- A policy that would hide rows from the functions makes them fail, and the application's writes with them.
  'policy', c.relrowsecurity and not (
      exists (select from pg_roles r where r.rolname = current_user and (r.rolsuper or r.rolbypassrls))
      or (pg_has_role(c.relowner, 'usage') and not c.relforcerowsecurity)),
  'lacks', array_remove(array[
      case when not has_table_privilege(c.oid, 'select') then 'SELECT on it' end,
      case when not has_table_privilege(c.oid, 'trigger') then 'TRIGGER on it' end,
      case when not has_schema_privilege(n.oid, 'usage') then 'USAGE on its schema' end], null),
  'columns', coalesce(cols.list, '[]'),
  'virtual', coalesce(cols.virtual, false),
  'settings', coalesce(cols.settings, false),
  'indexes', coalesce(idx.list, '[]'),
  'after_triggers', coalesce(trg.list, '[]'),
  'actions', coalesce(fk.list, '[]'),
  'leaves', coalesce(leaf.list, '[]'))
  order by n.nspname, c.relname), '[]')
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join lateral (
  select bool_or(a.attgenerated = 'v') as virtual,
    -- Made text in the trigger, by a function that may ask the writer's settings. Enums and kinds of text do not; reading
    -- an array of them back does.
    bool_or(not case when element.oid is null then own.builtin or own.plain else inner_type.builtin end)
      as settings,
    json_agg(json_build_object(
    'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
    'base', case
      when element.oid is null then case when own.builtin then own.typname else 'text' end
      -- The literal of an own type's array is read as one of texts, but for one with a delimiter of its own: that stays
      -- a literal.
      when inner_type.builtin then inner_type.typname || '[]'
      when inner_type.typdelim <> ',' then 'text'
      else 'text[]' end,
    'delimiter', case when element.oid is not null and inner_type.builtin then inner_type.typdelim else ',' end,
    -- NOT NULL NOT VALID leaves the NULLs that are there.
    'not_null', a.attnotnull and not exists (select from pg_constraint x
      where x.conrelid = a.attrelid and x.contype = 'n' and not x.convalidated and a.attnum = any (x.conkey)),
    'generated', a.attgenerated <> '',
    'id', a.attnum,
    'initial', case when a.atthasmissing then (a.attmissingval::text::text[])[1] end,
    'enum_labels', case when t.typtype = 'e' then
      (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) end)
    order by a.attnum) as list
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  -- Domains resolved.
  cross join lateral (
    with recursive chain(oid, depth) as (
      select t.oid, 0
      union all
      select d.typbasetype, chain.depth + 1 from chain join pg_type d on d.oid = chain.oid where d.typtype = 'd')
    select b.oid, b.typname, b.typelem, b.typnamespace = 'pg_catalog'::regnamespace and b.typtype in ('b', 'r', 'm') as builtin,
           b.typcategory in ('E', 'S') as plain
    from chain join pg_type b on b.oid = chain.oid order by chain.depth desc limit 1) own
  -- Arrays: the type whose element's array type it is.
  left join pg_type element on element.oid = own.typelem and element.typarray = own.oid
  left join lateral (
    with recursive chain(oid, depth) as (
      select element.oid, 0
      union all
      select d.typbasetype, chain.depth + 1 from chain join pg_type d on d.oid = chain.oid where d.typtype = 'd')
    select b.typname, b.typdelim,
           b.typnamespace = 'pg_catalog'::regnamespace and b.typtype in ('b', 'r', 'm')
           and not exists (select from pg_type x where x.oid = b.typelem and x.typarray = b.oid) as builtin
    from chain join pg_type b on b.oid = chain.oid order by chain.depth desc limit 1) inner_type on true
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) cols on true
left join lateral (
  select json_agg(json_build_object(
    'name', ic.relname, 'primary', i.indisprimary,
    'usable', i.indisunique and i.indisvalid and i.indisready and i.indislive and am.amname = 'btree',
    'immediate', i.indimmediate, 'partial', i.indpred is not null,
    'columns', (
      select json_agg(json_build_object(
        'name', a.attname,
        'not_null', a.attnotnull and not exists (select from pg_constraint x
          where x.conrelid = a.attrelid and x.contype = 'n' and not x.convalidated and a.attnum = any (x.conkey)),
        'collation', i.indcollation[k.n] in (0, a.attcollation),
        'operator', (
          select format('operator(%I.%s)', o.nspname, o.oprname)
          from pg_opclass oc
          join pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amopstrategy = 3
            and ao.amoplefttype = oc.opcintype and ao.amoprighttype = oc.opcintype
          join lateral (select pn.nspname, po.oprname from pg_operator po join pg_namespace pn on pn.oid = po.oprnamespace
                        where po.oid = ao.amopopr) o on true
          where oc.oid = i.indclass[k.n]),
        -- Types whose equal values are equal bytes.
        'loose', not coalesce(t.typtype = 'e' or t.typnamespace = 'pg_catalog'::regnamespace and t.typname in (
            'bool', 'int2', 'int4', 'int8', 'oid', 'uuid', 'date', 'time', 'timestamp', 'timestamptz', 'bytea', 'char',
            'name', 'text', 'varchar', 'macaddr', 'macaddr8', 'pg_lsn', 'xid8')
          and coalesce((select l.collisdeterministic from pg_collation l where l.oid = a.attcollation), true)
          -- By the type's own equality, which can be hashed and merged, and not by one that somebody defined.
          and exists (select from pg_opclass oc join pg_amop ao on ao.amopfamily = oc.opcfamily and ao.amopstrategy = 3
              and ao.amoplefttype = oc.opcintype and ao.amoprighttype = oc.opcintype
            join pg_operator po on po.oid = ao.amopopr and po.oprcanhash and po.oprcanmerge
              and po.oprnamespace = 'pg_catalog'::regnamespace
            where oc.oid = i.indclass[k.n]), false))
        order by k.n)
      from generate_series(0, i.indnkeyatts - 1) k(n)
      left join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[k.n] and a.attnum > 0
      left join pg_type t on t.oid = a.atttypid)) order by ic.relname) as list
  from pg_index i
  join pg_class ic on ic.oid = i.indexrelid
  join pg_am am on am.oid = ic.relam
  where i.indrelid = c.oid and i.indisunique) idx on true
left join lateral (
  select json_agg(g.tgname order by g.tgname) as list
  from pg_trigger g
  join pg_proc p on p.oid = g.tgfoid
  where g.tgrelid = c.oid and not g.tgisinternal and g.tgtype::int & 66 = 0
    and p.pronamespace is distinct from (select s.oid from pg_namespace s where s.nspname = {{schema_literal}})) trg on true
left join lateral (
  -- What several do within one statement comes to its triggers in one transition table.
  select json_agg(x.conname order by x.conname) as list
  from (
    select x.conname, x.confrelid = c.oid as own, count(*) over () as actions
    from pg_constraint x
    where x.contype = 'f' and x.conrelid = c.oid
      and (x.confupdtype in ('c', 'n', 'd') or x.confdeltype in ('c', 'n', 'd'))) x
  where x.own or x.actions > 1) fk on true
left join lateral (
  select json_agg(json_build_object('oid', lc.oid::int8, 'schema', ln.nspname, 'name', lc.relname, 'kind', lc.relkind,
    'ready', exists (select from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                     where g.tgrelid = lc.oid and not g.tgisinternal and g.tgtype::int & 32 = 32
                       and p.pronamespace = (select s.oid from pg_namespace s where s.nspname = {{schema_literal}})))
    order by ln.nspname, lc.relname) as list
  from (
    with recursive tree(oid) as (
      select c.oid
      union all
      select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.oid)
    select tree.oid from tree where c.relkind = 'p') tree
  join pg_class lc on lc.oid = tree.oid and lc.oid <> c.oid
  join pg_namespace ln on ln.oid = lc.relnamespace) leaf on true
where c.oid = any ({{oids}}::oid[])
