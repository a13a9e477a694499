-- Keys that changed behind the cut, by the log: shown here and not in the cut's snapshot. NULL stands for a truncate.
select distinct case when t.cdc_op = 'T' then null else sha256(convert_to({{key}}, 'UTF8')) end
from {{log}} t
where t.cdc_id > {{offset}} and not pg_visible_in_snapshot(t.cdc_txid, {{snapshot}})
