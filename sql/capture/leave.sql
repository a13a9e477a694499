-- Forgets a pipeline; its log tables stay for others.
with asked as (delete from {{schema}}.snapshots where pipeline = {{pipeline}})
delete from {{schema}}.pipelines where pipeline = {{pipeline}}
