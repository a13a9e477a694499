-- A table that was captured before may have missed changes: every pipeline copies its rows anew.
insert into {{schema}}.snapshots (pipeline, relation, table_name, sweeps)
select p.pipeline, {{relation}}, {{table_literal}}, true
from (select pipeline from {{schema}}.pipelines union select {{pipeline}}) p
where not exists (
  select from {{schema}}.snapshots r
  where r.pipeline = p.pipeline and r.relation = {{relation}} and r.sweeps and r.condition is null and r.started_at is null
    and r.ended_at is null);
