-- The last id before a moment, by the time at which rows were logged; NULL when nothing was logged since.
select (pg_catalog.min(l.cdc_id) - 1)::text from ({{logs}}) l where l.cdc_at >= {{time}}::timestamptz
