-- Captures a new table that a pipeline's patterns name. Rows that it comes with are logged; where a table of this name
-- was dropped before, its targets are emptied first. Returns false where there is nothing to do (yet): no pattern names
-- it, or it has no primary key.
create or replace function {{schema}}.capture(wanted oid) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  described jsonb := {{schema}}.describe(array[wanted]) -> 0;
  full_name text := (described ->> 'schema') || '.' || (described ->> 'name');
  pattern {{schema}}.patterns%rowtype;
  index jsonb := {{schema}}.key_index(described, null, null);
  texts jsonb;
  log_name text;
  r {{schema}}.tables%rowtype;
  again boolean;
begin
  select p.* into pattern from {{schema}}.patterns p
  where full_name like any (p.include) and not full_name like any (p.exclude) order by p.pipeline limit 1;
  if not found or described is null or described ->> 'schema' = {{schema_literal}} or index is null
    or {{schema}}.refusal(described) is not null then
    return false;
  end if;
  texts := pattern.templates -> case described ->> 'kind' when 'p' then 'partitioned' else 'table' end;
  log_name := case described ->> 'schema' when 'public' then '' else (described ->> 'schema') || '__' end
    || (described ->> 'name') || '_cdc';
  if octet_length(log_name) > 50 or exists (
      select from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = {{schema_literal}} and c.relname = log_name) then
    log_name := left(regexp_replace(described ->> 'name', '[^a-zA-Z0-9_]', '', 'g'), 30) || '_' || wanted || '_cdc';
  end if;
  select exists (select from {{schema}}.shapes s
                 where s.schema_name = described ->> 'schema' and s.table_name = described ->> 'name') into again;
  r.relation := wanted;
  r.schema_name := described ->> 'schema';
  r.table_name := described ->> 'name';
  r.log_table := log_name;
  r.columns := (select jsonb_agg({{schema}}.plain(c) order by n)
                from jsonb_array_elements(described -> 'columns') with ordinality e(c, n));
  r.key_columns := array(select k ->> 'name' from jsonb_array_elements(index -> 'columns') k);
  execute {{schema}}.fill(texts ->> 'log', {{schema}}.facts(r, index));
  select c.oid into r.log_relation from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = {{schema_literal}} and c.relname = log_name;
  insert into {{schema}}.tables (relation, schema_name, table_name, log_table, log_relation, key_columns, key_index,
    columns, mode, version, leaves, definition, objects, templates, log_columns, named_by_ddl)
  values (wanted, r.schema_name, r.table_name, log_name, r.log_relation, r.key_columns, index ->> 'name', r.columns,
    case described ->> 'kind' when 'p' then 'row' else pattern.mode end,
    {{schema}}.next_version(0, r.schema_name, r.table_name), '{}', '', '{}',
    -- The name inside quotes inside JSON.
    replace((texts - 'log')::text, '\u0006l', regexp_replace(to_json(replace(log_name, '"', '""'))::text, '^"|"$', '', 'g'))::jsonb,
    {{schema}}.log_numbers(r.log_relation, r.columns), true);
  perform {{schema}}.put(wanted, null);
  if again then
    execute format('insert into %I.%I (cdc_op) values (%L)', {{schema_literal}}, log_name, 'T');
  end if;
  if {{schema}}.relog(wanted, null, 'I') then
    perform {{schema}}.request(wanted, false, 'its rows were logged when it was captured');
  end if;
  return true;
end
$tripline$;
revoke execute on function {{schema}}.capture(oid) from public;

-- Says why a table that a pipeline's patterns name is not captured, null when nothing is to be said: where it only lacks a
-- primary key, that may come later, so it is said of a table that is new.
create or replace function {{schema}}.left_out(wanted oid, is_new boolean) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select coalesce({{schema}}.refusal(d.described),
                case when is_new and {{schema}}.key_index(d.described, null, null) is null then 'it has no primary key' end)
from (select {{schema}}.describe(array[wanted]) -> 0 as described) d
where not exists (select from {{schema}}.tables t where t.relation = wanted)
  and exists (select from {{schema}}.patterns p, lateral (values ((d.described ->> 'schema') || '.' || (d.described ->> 'name'))) n(name)
              where n.name like any (p.include) and not n.name like any (p.exclude))
$tripline$;
revoke execute on function {{schema}}.left_out(oid, boolean) from public;

-- Lets go of a table that was dropped: what it logged is still published, then its log table is nobody's any more.
create or replace function {{schema}}.let_go(wanted oid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  r {{schema}}.tables%rowtype;
  name text;
begin
  delete from {{schema}}.tables t where t.relation = wanted returning t.* into r;
  if found and r.log_columns is not null then
    perform {{schema}}.keep_shape(r, nextval({{sequence_literal}}::regclass), true);
  end if;
  for name in select substr(k, 10) from jsonb_object_keys(r.objects) k where k like 'function %' loop
    execute format('drop function if exists %I.%I()', {{schema_literal}}, name);
  end loop;
end
$tripline$;
revoke execute on function {{schema}}.let_go(oid) from public;

-- Gives a table up that could not be followed: its functions log nothing any more, so that the application can go on
-- writing it, and the daemon halts until init has put it right. The functions come first: writes must not fail, whatever
-- can be recorded.
create or replace function {{schema}}.give_up(wanted oid, why text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  name text;
begin
  for name in
    select substr(k, 10) from {{schema}}.tables t, jsonb_object_keys(t.objects) k
    where t.relation = wanted and k like 'function %'
  loop
    execute format('create or replace function %I.%I() returns trigger language plpgsql as %L', {{schema_literal}}, name,
      'begin return null; end');
  end loop;
  begin
    update {{schema}}.tables t set broken = why where t.relation = wanted and t.broken is null;
  exception when others then
    -- Another session wrote the row since this transaction's snapshot. That its functions were altered is seen too.
    raise warning 'tripline: that % is given up could not be recorded: %', wanted::regclass, sqlerrm;
  end;
  raise notice 'tripline: % is no longer captured: %; run tripline init', wanted::regclass, why;
exception when others then
  raise warning 'tripline: capture of % could not be given up: %', wanted::regclass, sqlerrm;
end
$tripline$;
revoke execute on function {{schema}}.give_up(oid, text) from public;

-- Looks at one table that DDL has touched. Never fails.
create or replace function {{schema}}.touched(wanted oid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  captured boolean := exists (select from {{schema}}.tables t where t.relation = wanted);
  why text;
begin
  if captured then
    perform {{schema}}.follow(wanted);
  else
    perform {{schema}}.capture(wanted);
  end if;
exception when others then
  get stacked diagnostics why = message_text;
  if captured then
    perform {{schema}}.give_up(wanted, why);
  else
    raise notice 'tripline: % is not captured: %; run tripline init', wanted::regclass, why;
  end if;
end
$tripline$;
revoke execute on function {{schema}}.touched(oid) from public;
