-- Tells that the trigger functions of a table still fit it, and raises an error that says so where they do not: a column
-- that is gone, renamed or of another type, another name of the table.
--
-- It costs nothing when rows are captured, because the planner runs it: declared immutable, its answer is a constant of
-- the plan, and a plan with a table as regclass is made anew whenever the table is altered. So it runs once per session
-- and function, and again behind DDL, before any statement that would fail.
-- statement: what the functions do, as one statement that is only planned.
create or replace function {{schema}}.fits(relation regclass, name text, statement text) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  why text;
  code text;
begin
  perform {{schema}}.plan(statement);
  return true;
exception when others then
  get stacked diagnostics why = message_text, code = returned_sqlstate;
  -- A lock, memory, an operator: no matter of columns, and gone by itself.
  if left(code, 2) in ('40', '53', '57', '58') or code = '55P03' then
    raise;
  end if;
  raise exception using errcode = code,
    message = format('tripline cannot log this change of %s, which was altered since its capture was installed: run "tripline init"',
                     (select string_agg(quote_ident(part), '.' order by n) from unnest(parse_ident(name)) with ordinality p(part, n))),
    detail = why,
    hint = 'Where event triggers may be created, "tripline init" makes capture follow ALTER TABLE by itself. docs/ddl.md has the order of steps without them.';
end
$tripline$;
revoke execute on function {{schema}}.fits(regclass, text, text) from public;

-- Plans a statement and does not run it. By itself, because an immutable function may not.
create or replace function {{schema}}.plan(statement text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
begin
  execute 'explain ' || statement;
end
$tripline$;
revoke execute on function {{schema}}.plan(text) from public;
