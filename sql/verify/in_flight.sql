-- Keys that changed behind the cut, by the log: shown here and not in the cut's snapshot. NULL stands for a truncate, and
-- for a row up to the id {{former}}, whose key cannot be told.
select distinct case when t.cdc_op = 'T' or t.cdc_id <= {{former}} then null else sha256(convert_to({{key}}, 'UTF8')) end
from {{log}} t
where t.cdc_id > {{offset}} and not pg_visible_in_snapshot(t.cdc_txid, {{snapshot}})
