insert into tripline.sweeps (pipeline, table_name, run, began)
values ({pipeline}, {table}, {run}, pg_current_xact_id())
on conflict (pipeline, table_name) do update set run = excluded.run, began = excluded.began
