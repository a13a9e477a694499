-- Up to which record of the cuts topic a pipeline is applied: epoch, pass, and the offset behind the record.
select c.epoch, c.pass, p.next_offset
from tripline.cuts c
join tripline.positions p on p.pipeline = c.pipeline and p.topic = $2::text and p.partition = 0
where c.pipeline = $1::text
