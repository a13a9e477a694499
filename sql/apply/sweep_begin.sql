insert into tripline.sweeps (pipeline, table_name, run, began)
-- Fails where a trigger could keep a row from being written: its age would then say that it is gone.
select {pipeline}, {table}, {run} / (not exists (
           select from pg_trigger g
           where g.tgrelid in (select '{target}'::regclass union select p.relid from pg_partition_tree('{target}'::regclass) p)
             and not g.tgisinternal and g.tgtype::int & 19 = 19
             and g.tgenabled in ('A', case current_setting('session_replication_role') when 'replica' then 'R' else 'O' end)
       ))::int, pg_current_xact_id()
on conflict (pipeline, table_name) do update set run = excluded.run, began = excluded.began
