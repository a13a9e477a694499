-- Rows of the buckets $2, in the order of their keys' hashes, which is the same on every server. $1 as in digest.sql.
select r.key_hash, r.row_hash, r.names
from (
  select sha256(convert_to({{key}}, 'UTF8')) as key_hash, sha256(convert_to({{row}}, 'UTF8')) as row_hash,
         array[{{names}}] as names
  from {{table}} t
  offset 0
) r
where get_byte(r.key_hash, 0) * 16 + get_byte(r.key_hash, 1) / 16 = any ($2::int4[])
  and {{wanted}} (select from unnest($1::bytea[]) k (hash) where k.hash = r.key_hash)
order by r.key_hash
