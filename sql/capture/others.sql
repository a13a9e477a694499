-- The other pipelines that read the log tables, or have asked for rows of them.
select coalesce(json_agg(pipeline order by pipeline), '[]') from (
  select pipeline from {{schema}}.pipelines union select pipeline from {{schema}}.snapshots
) known
where pipeline <> {{pipeline}}
