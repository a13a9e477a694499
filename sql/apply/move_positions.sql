with step (topic, partition, expected, next) as (values {rows}),
moved as (
    update tripline.positions p set next_offset = s.next, covered = {covered}, epoch = {epoch}
    from step s
    where p.pipeline = {pipeline} and p.topic = s.topic and p.partition = s.partition and p.next_offset = s.expected
    returning 1
),
begun as (
    insert into tripline.positions (pipeline, topic, partition, next_offset, covered, epoch)
    select {pipeline}, s.topic, s.partition, s.next, {covered}, {epoch} from step s where s.expected is null
    on conflict do nothing
    returning 1
)
select 1 / ((select count(*) from moved) + (select count(*) from begun) = {count})::int4
