-- Tables whose rows may change when a row of a table is deleted.
with recursive taken (oid) as (
    select c.conrelid from pg_constraint c
    where c.contype = 'f' and c.confrelid = $1 and c.confdeltype in ('c', 'n', 'd')
    union
    select c.conrelid from pg_constraint c join taken t on c.confrelid = t.oid
    where c.contype = 'f' and c.confdeltype in ('c', 'n', 'd')
)
select oid from taken
