-- Which new tables a pipeline wants.
insert into {{schema}}.patterns (pipeline, include, exclude, mode, templates, sign)
values ({{pipeline}}, {{include}}::text[], {{exclude}}::text[], {{mode}}, {{templates}}::pg_catalog.jsonb, {{sign}})
on conflict (pipeline) do update set include = excluded.include, exclude = excluded.exclude, mode = excluded.mode,
  templates = excluded.templates, sign = excluded.sign;
