-- Whether a transaction that may have written is open, prepared ones too, and where the sequence stands behind that.
select pg_catalog.pg_snapshot_xmin(s) <> pg_catalog.pg_snapshot_xmax(s), pg_catalog.pg_sequence_last_value({{sequence}}::regclass)::text
from pg_catalog.pg_current_snapshot() s
