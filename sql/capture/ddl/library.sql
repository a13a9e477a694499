-- What the catalog says of tables: sql/capture/describe.sql.
create or replace function {{schema}}.describe(relations oid[]) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select ({{describe}})::jsonb
$tripline$;
revoke execute on function {{schema}}.describe(oid[]) from public;

-- What stands of our triggers and functions: sql/capture/objects.sql.
create or replace function {{schema}}.standing(relation oid, functions text[]) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select {{objects}}
$tripline$;
revoke execute on function {{schema}}.standing(oid, text[]) from public;

-- The row versions of what capture rests on: sql/capture/seal.sql.
create or replace function {{schema}}.seal(relation oid, log_relation oid) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select {{seal}}
$tripline$;
revoke execute on function {{schema}}.seal(oid, oid) from public;

-- A column as the registry holds it: without what is as usual, and without what existing rows got.
create or replace function {{schema}}.plain(described jsonb) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select jsonb_strip_nulls(described) - 'initial'
  - case when described ->> 'delimiter' = ',' then 'delimiter' else '' end
  - case when described ->> 'generated' = 'false' then 'generated' else '' end
$tripline$;
revoke execute on function {{schema}}.plain(jsonb) from public;

-- Numbers of columns, by their names and in that order.
create or replace function {{schema}}.numbers(names text[], columns jsonb) returns int[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select coalesce(array_agg((c ->> 'id')::int order by n.place), '{}')
from unnest(names) with ordinality n(name, place)
left join jsonb_array_elements(columns) c on c ->> 'name' = n.name
$tripline$;
revoke execute on function {{schema}}.numbers(text[], jsonb) from public;

-- Tells whether ALTER TYPE from one type to the other keeps every value, so that a target comes to the same values with
-- the same ALTER TYPE. Types as format_type writes them. What is true here is true of widens in src/apply/evolve.rs, which
-- knows numeric to text too: there ClickHouse prints other zeros.
create or replace function {{schema}}.widens(old text, new text) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  o text := regexp_replace(old, '\(.*\)', '');
  n text := regexp_replace(new, '\(.*\)', '');
  -- Numbers only: names of types hold parentheses too, and so do modifiers of extensions.
  od int[] := string_to_array(replace(substring(old from '\(([-0-9, ]+)\)'), ' ', ''), ',')::int[];
  nd int[] := string_to_array(replace(substring(new from '\(([-0-9, ]+)\)'), ' ', ''), ',')::int[];
begin
  if old = new then
    return true;
  end if;
  if o = n and o in ('character varying', 'bit varying', 'timestamp without time zone', 'timestamp with time zone',
      'time without time zone', 'time with time zone') then
    return coalesce(nd is null or nd[1] >= od[1], false);
  end if;
  if o = 'numeric' and n = 'numeric' then
    return coalesce(nd is null
      or coalesce(nd[2], 0) >= coalesce(od[2], 0) and nd[1] - coalesce(nd[2], 0) >= od[1] - coalesce(od[2], 0), false);
  end if;
  return coalesce(
    (o, n) in (('smallint', 'integer'), ('smallint', 'bigint'), ('integer', 'bigint'), ('real', 'double precision'))
    or n = 'numeric' and nd is null and o in ('smallint', 'integer', 'bigint')
    or n in ('text', 'character varying') and nd is null
       and o in ('smallint', 'integer', 'bigint', 'uuid', 'boolean', 'text', 'character varying'), false);
end
$tripline$;
revoke execute on function {{schema}}.widens(text, text) from public;

-- Fills in a template of src/capture/template.rs. columns and keys: arrays of objects with name, base, place, operator, loose.
create or replace function {{schema}}.fill(template text, facts jsonb) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  filled text := '';
  rest text := template;
  list text;
  parts text[];
  items text;
begin
  loop
    list := substring(rest from e'[\x01-\x03\x07][^\x05]*\x05');
    exit when list is null;
    filled := filled || left(rest, strpos(rest, list) - 1);
    rest := substr(rest, strpos(rest, list) + length(list));
    parts := string_to_array(substr(list, 2, length(list) - 2), e'\x04');
    if left(list, 1) = e'\x07' then
      items := case when (facts ->> 'settings')::boolean then parts[1] end;
    elsif left(list, 1) = e'\x01' then
      select string_agg({{schema}}.fill_names(parts[case when c ? 'place' then 2 else 3 end], c), parts[1] order by n)
      into items from jsonb_array_elements(facts -> 'columns') with ordinality e(c, n);
    else
      select string_agg({{schema}}.fill_names(parts[2], k), parts[1] order by n)
      into items from jsonb_array_elements(facts -> 'keys') with ordinality e(k, n)
      where left(list, 1) = e'\x02' or (k ->> 'loose')::boolean;
    end if;
    filled := filled || coalesce(items, '');
  end loop;
  return replace(replace(replace(replace(filled || rest,
    e'\x06r', facts ->> 'relation'),
    e'\x06s', replace(facts ->> 'schema', '"', '""')),
    e'\x06t', replace(facts ->> 'table', '"', '""')),
    e'\x06l', replace(facts ->> 'log', '"', '""'));
end
$tripline$;
revoke execute on function {{schema}}.fill(text, jsonb) from public;

create or replace function {{schema}}.fill_names(template text, facts jsonb) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select replace(replace(replace(replace(replace(
  -- A value: through its output function where the type is none of pg_catalog (src/capture/row.rs).
  regexp_replace(template, e'\x06<(.*?)\x06>', case
    when (facts ->> 'foreign')::boolean and facts ->> 'base' = 'text[]' then
      $s$(case when pg_catalog.num_nulls(\1) = 0 then pg_catalog.format('%s', \1) end)::pg_catalog."text"[]$s$
    when (facts ->> 'foreign')::boolean then
      $s$case when pg_catalog.num_nulls(\1) = 0 then pg_catalog.format('%s', \1) end$s$
    else e'\\1::pg_catalog."\x06b"' end, 'g'),
  e'pg_catalog."\x06b"', 'pg_catalog."' || replace(rtrim(facts ->> 'base', '[]'), '"', '""') || '"'
    || case when facts ->> 'base' like '%[]' then '[]' else '' end),
  e'\x06i', coalesce(facts ->> 'place', '')),
  e'\x06o', coalesce(facts ->> 'operator', '')),
  e'\x06k', replace(facts ->> 'name', '"', '""')),
  e'\x06n', replace(facts ->> 'name', '"', '""'))
$tripline$;
revoke execute on function {{schema}}.fill_names(text, jsonb) from public;
