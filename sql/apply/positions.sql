-- What a pipeline has applied.
select topic, partition, next_offset from tripline.positions where pipeline = $1
