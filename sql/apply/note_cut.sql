insert into tripline.cuts (pipeline, epoch, pass, part, done, rows, cdc_offset, source_micros, applied_at)
values ({pipeline}, {epoch}, {pass}, {part}, {done}, {rows}, {offset}, {micros}, clock_timestamp())
on conflict (pipeline) do update
set epoch = excluded.epoch, pass = excluded.pass, part = excluded.part, done = excluded.done, rows = excluded.rows,
    cdc_offset = excluded.cdc_offset, source_micros = excluded.source_micros, applied_at = excluded.applied_at
