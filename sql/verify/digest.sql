-- Rows of a table by bucket of their key's hash: how many, and sums over the hashes of whole rows, key included.
-- $1: hashes of keys; EXISTS takes these keys alone, NOT EXISTS all but these.
-- OFFSET 0 keeps each hash from being computed again wherever it is used.
select get_byte(r.key_hash, 0) * 16 + get_byte(r.key_hash, 1) / 16,
       count(*),
       sum(('x' || encode(substr(r.row_hash, 1, 8), 'hex'))::bit(64)::int8)::text,
       sum(('x' || encode(substr(r.row_hash, 9, 8), 'hex'))::bit(64)::int8)::text
from (
  select sha256(convert_to({{key}}, 'UTF8')) as key_hash, sha256(convert_to({{row}}, 'UTF8')) as row_hash
  from {{table}} t
  offset 0
) r
where {{wanted}} (select from unnest($1::bytea[]) k (hash) where k.hash = r.key_hash)
group by 1
