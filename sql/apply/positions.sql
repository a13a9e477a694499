-- What a pipeline has applied.
select topic, partition, next_offset, covered from tripline.positions where pipeline = $1
