-- Needs the right to create event triggers. What is there already is left alone.
create event trigger {{ddl_trigger}} on ddl_command_end
when tag in ('ALTER TABLE', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE SCHEMA', 'ALTER SCHEMA',
  'ALTER TYPE', 'ALTER DOMAIN', 'ALTER EXTENSION', 'ALTER INDEX', 'CREATE INDEX')
execute function {{schema}}.on_ddl();
create event trigger {{drop_trigger}} on sql_drop execute function {{schema}}.on_drop();
