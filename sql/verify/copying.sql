-- The pass behind which a target has all existing rows of a table; the highest number while they are not all published.
select coalesce(max(case when r.ended_at is null then 9223372036854775807 else r.pass end), 0)
from {{schema}}.snapshots r
where r.pipeline = $1 and r.relation = $2
