-- The last cut that a pipeline has applied.
select epoch, pass, part, done, rows, cdc_offset, source_micros,
       (extract(epoch from applied_at) * 1000000)::int8
from tripline.cuts
where pipeline = $1
