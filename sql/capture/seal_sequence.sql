-- Accepts the sequence as it stands.
update {{schema}}.tables t set seal = pg_catalog.jsonb_set(t.seal, '{sequence}', pg_catalog.to_jsonb(q.xmin::text))
from pg_catalog.pg_class c join pg_catalog.pg_sequence q on q.seqrelid = c.oid
where c.relname = 'cdc_id_seq' and t.seal is not null
  and c.relnamespace = (select n.oid from pg_catalog.pg_namespace n where n.nspname = {{schema_literal}});
