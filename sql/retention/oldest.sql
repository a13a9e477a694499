select {{log_literal}} as log_table, l.cdc_id as id,
       greatest(extract(epoch from pg_catalog.clock_timestamp() - l.cdc_at), 0)::float8 as seconds
from (select x.cdc_id, x.cdc_at from {{log}} x where x.cdc_id > {{cursor}} order by x.cdc_id limit 1) l
