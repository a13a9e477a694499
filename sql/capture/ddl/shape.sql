-- A type of a log column, quoted: {{schema}}.fill and Rust's base_type write it in the same way.
create or replace function {{schema}}.base_type(base text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select 'pg_catalog."' || replace(rtrim(base, '[]'), '"', '""') || '"' || case when base like '%[]' then '[]' else '' end
$tripline$;
revoke execute on function {{schema}}.base_type(text) from public;

-- Says what is in the way of capturing a table, null when nothing is (init says the same, with the way out).
create or replace function {{schema}}.refusal(described jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select case
  when described ->> 'kind' = 'f'
    or exists (select from jsonb_array_elements(described -> 'leaves') l where l ->> 'kind' = 'f')
    then 'it is a foreign table or has one as a partition'
  when (described ->> 'partition')::boolean then 'it became a partition'
  when (described ->> 'inherits')::boolean then 'it takes part in plain inheritance'
  when (described ->> 'policy')::boolean then 'row-level security would hide rows from capture'
  when described -> 'lacks' <> '[]' then 'the owner of capture lacks ' || (described -> 'lacks' ->> 0)
  when exists (select from jsonb_array_elements(described -> 'columns') c where c ->> 'name' like 'cdc\_%')
    then 'a column begins with cdc_'
  when exists (
      select from (select c ->> 'name' from jsonb_array_elements(described -> 'columns') c
                   union all values (described ->> 'schema'), (described ->> 'name')
                   -- With the schema that it is in.
                   union all select k ->> 'operator' from jsonb_array_elements(described -> 'indexes') i,
                     jsonb_array_elements(i -> 'columns') k) n(name)
      where n.name ~ e'[\x01-\x07]' or strpos(n.name, '$tripline') > 0)
    then 'a name holds control characters or $tripline'
end
$tripline$;
revoke execute on function {{schema}}.refusal(jsonb) from public;

-- The index that tells the rows of a described table apart: the one of this name, or else the primary key, or else any
-- other on the same columns (given by number; null: any columns). Null when there is none that can be used.
create or replace function {{schema}}.key_index(described jsonb, name text, numbers int[]) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select i.value
from jsonb_array_elements(described -> 'indexes') i,
  lateral (select array_agg(k ->> 'name' order by n) as names,
                  bool_and(coalesce((k ->> 'not_null')::boolean and (k ->> 'collation')::boolean, false)
                           and k ->> 'operator' is not null) as fit
           from jsonb_array_elements(i.value -> 'columns') with ordinality e(k, n)) k
where (i.value ->> 'usable')::boolean and (i.value ->> 'immediate')::boolean and not (i.value ->> 'partial')::boolean
  and k.fit and (numbers is null or {{schema}}.numbers(k.names, described -> 'columns') = numbers)
  and (numbers is not null or (i.value ->> 'primary')::boolean)
order by (i.value ->> 'name' = name) desc nulls last, (i.value ->> 'primary')::boolean desc, i.value ->> 'name'
limit 1
$tripline$;
revoke execute on function {{schema}}.key_index(jsonb, text, int[]) from public;

-- Numbers of the log table's columns for these columns of the table.
create or replace function {{schema}}.log_numbers(log_relation oid, columns jsonb) returns int2[]
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select coalesce(array_agg(a.attnum order by e.n), '{}')
from jsonb_array_elements(columns) with ordinality e(c, n)
left join pg_attribute a on a.attrelid = log_relation and a.attname = e.c ->> 'name' and a.attnum > 0
$tripline$;
revoke execute on function {{schema}}.log_numbers(oid, jsonb) from public;

-- Gives the log table a column for each column of the table. No column is dropped and none gets another type: one whose
-- column went away or has another type steps aside as cdc_v<version>_<number>, for the rows that were logged before.
create or replace function {{schema}}.reshape_log(known {{schema}}.tables, columns jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  log text := format('%I.%I', {{schema_literal}}, known.log_table);
  c record;
begin
  -- First out of the way, all of them: columns may have swapped their names.
  for c in
    select a.attname, a.attnum
    from jsonb_array_elements(known.columns) with ordinality o(old, n)
    join pg_attribute a on a.attrelid = known.log_relation and a.attnum = known.log_columns[o.n]
    left join jsonb_array_elements(columns) e(new) on new ->> 'id' = old ->> 'id' and new ->> 'base' = old ->> 'base'
    where new is null or new ->> 'name' <> a.attname
  loop
    execute format('alter table %s rename column %I to %I', log, c.attname,
      format('cdc_v%s_%s', known.version, c.attnum));
  end loop;
  for c in
    select new ->> 'name' as name, new ->> 'base' as base, a.attname
    from jsonb_array_elements(columns) with ordinality e(new, place)
    left join jsonb_array_elements(known.columns) with ordinality o(old, n)
      on new ->> 'id' = old ->> 'id' and new ->> 'base' = old ->> 'base'
    left join pg_attribute a on a.attrelid = known.log_relation and a.attnum = known.log_columns[o.n]
    order by place
  loop
    if c.attname is null then
      execute format('alter table %s add column %I %s', log, c.name, {{schema}}.base_type(c.base));
    elsif c.attname <> c.name then
      execute format('alter table %s rename column %I to %I', log, c.attname, c.name);
    end if;
  end loop;
end
$tripline$;
revoke execute on function {{schema}}.reshape_log({{schema}}.tables, jsonb) from public;

-- Tells whether the statement at hand could have changed values: only the text of an ALTER that a client sent itself, and
-- that has no USING, says that it did not.
create or replace function {{schema}}.may_convert() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select coalesce(current_query() !~* '\malter\M' or current_query() ~* '\musing\M', true)
$tripline$;
revoke execute on function {{schema}}.may_convert() from public;

-- Says in which columns existing rows have values now that no event carried, null when there are none: a default that
-- was computed row by row, ALTER TYPE that may have changed values, a rewrite with USING.
create or replace function {{schema}}.unlogged(known {{schema}}.tables, described jsonb, found jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
with files as (
  select exists (
    select from jsonb_each_text(known.seal -> 'files') f
    where found -> 'files' ->> f.key is distinct from f.value and found -> 'files' ? f.key) as rewritten)
select string_agg(new ->> 'name', ', ' order by (new ->> 'id')::int)
from files, jsonb_array_elements(described -> 'columns') e(new)
left join jsonb_array_elements(known.columns) o(old) on old ->> 'id' = new ->> 'id'
join pg_attribute a on a.attrelid = known.relation and a.attnum = (new ->> 'id')::int
where case
  -- A domain brings a default of its own, and with a constraint the table is written anew.
  when old is null then (a.atthasdef or a.attidentity <> '' or files.rewritten) and not a.atthasmissing
  when old ->> 'type' <> new ->> 'type' then
    not {{schema}}.widens(old ->> 'type', new ->> 'type') or {{schema}}.may_convert()
  -- A label that has another name now.
  when exists (select from jsonb_array_elements_text(case jsonb_typeof(old -> 'enum_labels') when 'array' then old -> 'enum_labels' else '[]' end) l
               where not coalesce(new -> 'enum_labels', '[]') ? l) then true
  -- ALTER COLUMN … SET EXPRESSION, which a column that is not stored shows in nothing else.
  when (new ->> 'generated')::boolean and not files.rewritten then
    known.seal -> 'columns' -> (new ->> 'id') ->> 'settings' <> found -> 'columns' -> (new ->> 'id') ->> 'settings'
  else files.rewritten
    -- Once more in this transaction, it has the same version.
    and (known.seal -> 'columns' -> (new ->> 'id') ->> 'version' <> found -> 'columns' -> (new ->> 'id') ->> 'version'
         or age((found -> 'columns' -> (new ->> 'id') ->> 'version')::xid) <= age(pg_current_xact_id()::xid))
    and (known.seal -> 'columns' -> (new ->> 'id') ->> 'settings' = found -> 'columns' -> (new ->> 'id') ->> 'settings'
         or found -> 'rewrites' ? (found -> 'columns' -> (new ->> 'id') ->> 'version'))
  end
$tripline$;
revoke execute on function {{schema}}.unlogged({{schema}}.tables, jsonb, jsonb) from public;

-- What the seal becomes behind a change of ours: what was altered by others since the last one stays visible.
create or replace function {{schema}}.reseal(old jsonb, before jsonb, after jsonb) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select case when old is null then after else after || jsonb_build_object(
  -- A partition that left gets other triggers when it comes back.
  'triggers', coalesce((
    select jsonb_object_agg(t.key, t.value)
    from jsonb_each(coalesce(old -> 'triggers', '{}')) t where after -> 'files' ? (t.value ->> 'table')), '{}') || coalesce((
    select jsonb_object_agg(t.key, t.value)
    from jsonb_each(after -> 'triggers') t
    where not coalesce(old -> 'triggers' -> t.key ->> 'version' <> before -> 'triggers' -> t.key ->> 'version', false)), '{}'),
  'log_file', case when old -> 'log_file' = before -> 'log_file' then after else old end -> 'log_file',
  'sequence', old -> 'sequence') end
$tripline$;
revoke execute on function {{schema}}.reseal(jsonb, jsonb, jsonb) from public;
