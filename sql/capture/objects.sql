-- Our triggers on a table and the functions behind them, by name, each with a hash of what it does.
(select coalesce(pg_catalog.jsonb_object_agg(o.name, o.hash), '{}')
 from (
   select 'trigger ' || g.tgname as name,
          pg_catalog.md5(pg_catalog.concat_ws('|', g.tgfoid, g.tgtype, g.tgattr::text, g.tgqual is null, g.tgoldtable,
            g.tgnewtable, g.tgnargs, g.tgconstraint)) as hash
   from pg_catalog.pg_trigger g
   join pg_catalog.pg_proc p on p.oid = g.tgfoid
   where g.tgrelid = {{relation}} and not g.tgisinternal and g.tgtype::pg_catalog.int4 & 2 = 0
     and p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = {{schema_literal}})
   union all
   select 'function ' || p.proname,
          pg_catalog.md5(pg_catalog.concat_ws('|', p.prosrc, p.prosecdef, p.proconfig::text, p.proowner, p.proacl::text))
   from pg_catalog.pg_proc p
   where p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = {{schema_literal}})
     and p.proname = any ({{functions}})
 ) o)
