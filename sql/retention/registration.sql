-- How far a pipeline has said that it is, null when it has not.
select pg_catalog.to_json(p.acknowledged) from {{schema}}.pipelines p where p.pipeline = {{pipeline}}
