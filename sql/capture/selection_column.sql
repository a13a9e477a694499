-- For registries of older releases.
alter table {{schema}}.tables add column if not exists selection jsonb;
