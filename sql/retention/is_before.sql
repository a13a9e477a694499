-- Was anything removed that was logged at or after a moment?
select pg_catalog.to_json(exists (select from {{schema}}.retention r where r.removed_at >= {{time}}::timestamptz))
