-- What a pipeline has applied.
select topic, partition, next_offset, covered, epoch from tripline.positions where pipeline = $1
