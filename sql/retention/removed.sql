-- What retention has removed from the log tables, null when nothing.
select pg_catalog.to_json(x) from (
  select pg_catalog.max(r.removed_to) as "to",
         pg_catalog.max(r.removed_xid::pg_catalog.text::pg_catalog.numeric) as xid,
         pg_catalog.to_char(pg_catalog.max(r.removed_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
  from {{schema}}.retention r
  having pg_catalog.count(*) > 0) x
