-- Notes what a table here is made for.
with other as (delete from tripline.tables where pipeline = $1 and relation = $3 and target <> $2)
insert into tripline.tables (pipeline, target, relation, made) values ($1, $2, $3, $4)
on conflict (pipeline, target) do update set relation = excluded.relation, made = excluded.made
