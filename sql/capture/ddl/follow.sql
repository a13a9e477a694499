-- What templates of a table are filled with.
create or replace function {{schema}}.facts(known {{schema}}.tables, index jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select jsonb_build_object('relation', known.relation, 'schema', known.schema_name, 'table', known.table_name, 'log', known.log_table,
  'columns', (
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', c ->> 'name', 'base', c ->> 'base',
      'foreign', c ->> 'base' in ('text', 'text[]') and c ->> 'type' <> c ->> 'base',
      'place', array_position(known.key_columns, c ->> 'name') - 1)) order by n)
    from jsonb_array_elements(known.columns) with ordinality e(c, n)),
  'keys', (
    select jsonb_agg(jsonb_build_object('name', k ->> 'name', 'operator', k ->> 'operator', 'loose', k -> 'loose',
      'place', n - 1,
      'base', c ->> 'base',
      'foreign', c ->> 'base' in ('text', 'text[]') and c ->> 'type' <> c ->> 'base') order by n)
    from jsonb_array_elements(index -> 'columns') with ordinality e(k, n)
    left join jsonb_array_elements(known.columns) c on c ->> 'name' = k ->> 'name'))
$tripline$;
revoke execute on function {{schema}}.facts({{schema}}.tables, jsonb) from public;

-- Returns the templates of a table for its key, and what they are filled with.
create or replace function {{schema}}.texts(known {{schema}}.tables, described jsonb, index jsonb, out texts jsonb, out facts jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select known.templates -> case when bool_or((k ->> 'loose')::boolean) then 'loose' else 'plain' end,
       {{schema}}.facts(known, index) || jsonb_build_object('settings', described -> 'settings')
from jsonb_array_elements(index -> 'columns') k
$tripline$;
revoke execute on function {{schema}}.texts({{schema}}.tables, jsonb, jsonb) from public;

-- Returns the statements that create the functions of a table, and what the functions are called.
create or replace function {{schema}}.functions(texts jsonb, facts jsonb, out statements text, out names text[])
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select string_agg({{schema}}.fill(f ->> 'sql', facts), '' order by n), array_agg({{schema}}.fill(f ->> 'name', facts) order by n)
from jsonb_array_elements(texts -> 'functions') with ordinality e(f, n)
$tripline$;
revoke execute on function {{schema}}.functions(jsonb, jsonb) from public;

-- Returns the first half of tables.definition: of the statements that create the functions. Rust makes it in the same way.
create or replace function {{schema}}.sign(statements text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $tripline$
select left(encode(sha256(convert_to(statements, 'UTF8')), 'hex'), 16)
$tripline$;
revoke execute on function {{schema}}.sign(text) from public;

-- Puts the functions of a table in place and records what they rest on.
create or replace function {{schema}}.put(wanted oid, before jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  r {{schema}}.tables%rowtype;
  described jsonb := {{schema}}.describe(array[wanted]) -> 0;
  index jsonb;
  facts jsonb;
  texts jsonb;
  f jsonb;
  functions text;
  triggers text := '';
  names text[];
begin
  select t.* into r from {{schema}}.tables t where t.relation = wanted;
  index := {{schema}}.key_index(described, r.key_index, {{schema}}.numbers(r.key_columns, r.columns));
  if r.mode = 'statement' and (select bool_or((k ->> 'loose')::boolean) from jsonb_array_elements(index -> 'columns') k) then
    raise exception 'mode statement needs a key whose equal values are equal bytes';
  end if;
  select t.texts, t.facts into texts, facts from {{schema}}.texts(r, described, index) t;
  select t.statements, t.names into functions, names from {{schema}}.functions(texts, facts) t;
  for f in select e from jsonb_array_elements(texts -> 'triggers') e loop
    triggers := triggers || {{schema}}.fill(f #>> '{}', facts);
  end loop;
  execute functions;
  if before is null then
    execute triggers;
  end if;
  for f in select l from jsonb_array_elements(described -> 'leaves') l
           where l ->> 'kind' = 'r' and not (l ->> 'ready')::boolean loop
    execute {{schema}}.fill(texts ->> 'leaf', facts || jsonb_build_object('schema', f ->> 'schema', 'table', f ->> 'name'));
  end loop;
  update {{schema}}.tables t set
    leaves = array(select (l ->> 'oid')::oid from jsonb_array_elements(described -> 'leaves') l),
    definition = {{schema}}.sign(functions) || '.' || {{schema}}.sign(triggers),
    objects = {{schema}}.standing(wanted, names),
    seal = {{schema}}.reseal(r.seal, before, {{schema}}.seal(wanted, r.log_relation))
  where t.relation = wanted;
end
$tripline$;
revoke execute on function {{schema}}.put(oid, jsonb) from public;

-- Asks for the rows of a table anew, for every pipeline; a copy of all of them that has not begun is enough.
create or replace function {{schema}}.request(wanted oid, sweeps boolean, why text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
begin
  insert into {{schema}}.snapshots (pipeline, relation, table_name, sweeps, note, ended_at)
  select p.pipeline, wanted, (select format('"%s"."%s"', replace(t.schema_name, '"', '""'), replace(t.table_name, '"', '""'))
                              from {{schema}}.tables t where t.relation = wanted),
         request.sweeps, why, case when why is not null then clock_timestamp() end
  from {{schema}}.patterns p
  where not request.sweeps or not exists (
    select from {{schema}}.snapshots r
    where r.pipeline = p.pipeline and r.relation = wanted and r.sweeps and r.condition is null and r.started_at is null
      and r.ended_at is null);
end
$tripline$;
revoke execute on function {{schema}}.request(oid, boolean, text) from public;

-- Logs the rows of a table (or of one partition) again, so that its targets get them: where DDL gave rows values without
-- an event, or a table comes with rows. A snapshot of a large one, or of one that this transaction may not see whole, is
-- requested instead. With T as the operation a T comes first, and the rows as I. Returns whether it logged them.
create or replace function {{schema}}.relog(wanted oid, leaf oid, op "char") returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  r {{schema}}.tables%rowtype;
  size bigint;
  elsewhere boolean;
begin
  select t.* into r from {{schema}}.tables t where t.relation = wanted;
  select greatest(sum(pg_table_size(p.relid)), pg_table_size(coalesce(leaf, wanted))) into size
  from pg_partition_tree(coalesce(leaf, wanted)) p;
  -- Rows that came since this transaction's snapshot would go unseen.
  elsewhere := size > {{relog_bytes}} or current_setting('transaction_isolation') in ('repeatable read', 'serializable');
  if op = 'T' and not elsewhere then
    begin
      -- Who writes it now would be lost behind the T, or logged twice. Not every DDL locks them out, and waiting could be a
      -- deadlock.
      execute format('lock table %I.%I in share row exclusive mode nowait', r.schema_name, r.table_name);
    exception when lock_not_available or insufficient_privilege or undefined_table then
      elsewhere := true;
    end;
  end if;
  if elsewhere and r.key_columns = '{}' then
    -- Without a key there is nothing to copy rows by: the publisher halts here, and says what a person can do.
    execute format('insert into %I.%I (cdc_op) values (%L)', {{schema_literal}}, r.log_table, 'U');
    return false;
  elsif elsewhere then
    perform {{schema}}.request(wanted, true, null);
    return false;
  end if;
  if op = 'T' then
    execute format('insert into %I.%I (cdc_op) values (%L)', {{schema_literal}}, r.log_table, op);
    op := 'I';
  end if;
  execute {{schema}}.fill(r.templates ->> 'relog',
      {{schema}}.facts(r, {{schema}}.key_index({{schema}}.describe(array[wanted]) -> 0, r.key_index,
        {{schema}}.numbers(r.key_columns, r.columns)))
      || (select jsonb_build_object('schema', n.nspname, 'table', c.relname)
          from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = coalesce(leaf, wanted)))
    using op;
  return true;
end
$tripline$;
revoke execute on function {{schema}}.relog(oid, oid, "char") from public;

-- Keeps the shape that a table had for its log rows up to an id.
create or replace function {{schema}}.keep_shape(r {{schema}}.tables, boundary bigint, dropped boolean) returns void
language sql
set search_path = pg_catalog, pg_temp
as $tripline$
insert into {{schema}}.shapes (log_table, version, relation, schema_name, table_name, key_columns, columns, log_columns,
  mode, after_id, until_id, dropped)
values (r.log_table, r.version, r.relation, r.schema_name, r.table_name, r.key_columns, r.columns, r.log_columns, r.mode,
        r.after_id, boundary, dropped)
$tripline$;
revoke execute on function {{schema}}.keep_shape({{schema}}.tables, bigint, boolean) from public;

-- The version of the next shape of a table that has this name: each name counts for itself, whatever tables had it.
create or replace function {{schema}}.next_version(former integer, in_schema text, name text) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $tripline$
select greatest(former, (select max(s.version) from {{schema}}.shapes s where s.schema_name = in_schema and s.table_name = name)) + 1
$tripline$;
revoke execute on function {{schema}}.next_version(integer, text, text) from public;

-- Follows what DDL made of a captured table, in the DDL's own transaction: log table, functions, registry row and seal.
--
-- The table's writers are locked out by the DDL, so an id that is drawn here parts the log rows of the old shape from
-- those of the new one. Raises where it cannot follow.
create or replace function {{schema}}.follow(wanted oid) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $tripline$
declare
  r {{schema}}.tables%rowtype;
  described jsonb;
  before jsonb;
  index jsonb;
  new jsonb;
  f jsonb;
  leaves_now oid[];
  same boolean;
  why text;
  boundary bigint;
  leaf oid;
  locked boolean;
begin
  -- Once to see whether there is anything to do, and again with the row locked. What locks it at once lets migrations of
  -- other tables wait: ALTER TYPE asks for every table.
  foreach locked in array array[false, true] loop
    if locked then
      perform from {{schema}}.tables t where t.relation = wanted for update;
    end if;
    described := {{schema}}.describe(array[wanted]) -> 0;
    leaves_now := array(select (l ->> 'oid')::oid from jsonb_array_elements(described -> 'leaves') l);
    select t.* into r from {{schema}}.tables t where t.relation = wanted;
    if not found or described is null or r.broken is not null or r.templates is null or r.log_columns is null then
      return;
    end if;
    if (described ->> 'policy')::boolean or (described -> 'lacks') - 'TRIGGER on it' <> '[]' then
      -- Whatever its shape, the functions would fail.
      raise exception '%', {{schema}}.refusal(described);
    end if;
    if r.templates = '{}' then
      -- With columns that are chosen or masked, or a filter: what is new is for people to decide, verify halts the daemon.
      -- What goes or changes under the functions would fail in them.
      if r.schema_name <> described ->> 'schema' or r.table_name <> described ->> 'name' or exists (
          select from jsonb_array_elements(r.seen) old
          left join jsonb_array_elements(described -> 'columns') c on c ->> 'id' = old ->> 'id'
          where (r.selection ->> 'filter' is not null
                 or exists (select from jsonb_array_elements(r.columns) p where p ->> 'name' = old ->> 'name'))
            and (c is null or c ->> 'name' <> old ->> 'name' or c ->> 'type' <> old ->> 'type')) then
        raise exception 'its [[table]] entry chooses, masks or filters columns, and one of them was altered';
      end if;
      return;
    end if;
    if (r.schema_name <> described ->> 'schema' or r.table_name <> described ->> 'name') and exists (
        select from {{schema}}.patterns p
        where (r.schema_name || '.' || r.table_name) like any (p.include)
          and not (r.schema_name || '.' || r.table_name) like any (p.exclude)
          and ((described ->> 'schema') || '.' || (described ->> 'name')) like any (p.exclude)) then
      raise exception 'its new name is one that source.tables leaves out, or that a [[table]] entry speaks of';
    end if;
    before := {{schema}}.seal(wanted, r.log_relation);
    index := {{schema}}.key_index(described, r.key_index, {{schema}}.numbers(r.key_columns, r.columns));
    same := r.schema_name = described ->> 'schema' and r.table_name = described ->> 'name'
      and (select jsonb_agg({{schema}}.plain(c) order by (c ->> 'id')::int) from jsonb_array_elements(r.columns) c)
        = (select jsonb_agg({{schema}}.plain(c) order by (c ->> 'id')::int) from jsonb_array_elements(described -> 'columns') c);
    why := {{schema}}.unlogged(r, described, before);
    if index is null and same and r.key_columns <> '{}' then
      -- The functions still work; check says what is missing.
      return;
    end if;
    if same and why is null and leaves_now = r.leaves and (index is null or index ->> 'name' = r.key_index)
        -- The operator of a key may have moved.
        and split_part(r.definition, '.', 1) = (
          select {{schema}}.sign(f.statements)
          from {{schema}}.texts(r, described, index) t, {{schema}}.functions(t.texts, t.facts) f) then
      return;
    end if;
  end loop;
  if {{schema}}.refusal(described) is not null then
    raise exception '%', {{schema}}.refusal(described);
  elsif index is null and r.key_columns <> '{}' then
    raise exception 'its key (%) is gone', array_to_string(r.key_columns, ', ');
  end if;
  if same then
    update {{schema}}.tables t set key_index = coalesce(index ->> 'name', '') where t.relation = wanted;
  else
    boundary := nextval({{sequence_literal}}::regclass);
    perform {{schema}}.keep_shape(r, boundary, false);
    perform {{schema}}.reshape_log(r, described -> 'columns');
    -- In the order of the log table; what existing rows got when a column came stays as it was then.
    select jsonb_agg({{schema}}.plain(c) || coalesce(
        case when old is null then jsonb_strip_nulls(jsonb_build_object('initial', c -> 'initial'))
             when old ? 'initial' then jsonb_build_object('initial', old -> 'initial') end, '{}') order by a.attnum)
    into new
    from jsonb_array_elements(described -> 'columns') c
    join pg_attribute a on a.attrelid = r.log_relation and a.attname = c ->> 'name'
    left join jsonb_array_elements(r.columns) old on old ->> 'id' = c ->> 'id';
    update {{schema}}.tables t set
      schema_name = described ->> 'schema', table_name = described ->> 'name', columns = new,
      log_columns = {{schema}}.log_numbers(r.log_relation, new),
      key_columns = array(select k ->> 'name' from jsonb_array_elements(index -> 'columns') k),
      key_index = coalesce(index ->> 'name', ''), after_id = boundary,
      named_by_ddl = r.named_by_ddl or r.schema_name <> described ->> 'schema' or r.table_name <> described ->> 'name',
      version = {{schema}}.next_version(r.version, described ->> 'schema', described ->> 'name')
    where t.relation = wanted;
  end if;
  perform {{schema}}.put(wanted, before);
  if r.key_columns = '{}' and (why is not null or not r.leaves <@ leaves_now) then
    -- No key says which rows are gone or other ones now: all that stay are logged behind a T.
    perform {{schema}}.relog(wanted, null, 'T');
    return;
  end if;
  -- Partitions that went take their rows along, those that came bring some.
  for f in
    select jsonb_build_object('schema', n.nspname, 'table', c.relname)
    from unnest(r.leaves) l join pg_class c on c.oid = l join pg_namespace n on n.oid = c.relnamespace
    where l <> all (leaves_now) and c.relkind = 'r'
  loop
    execute {{schema}}.fill(r.templates ->> 'depart', {{schema}}.facts(r, index) || f);
  end loop;
  if exists (select from unnest(r.leaves) l where not exists (select from pg_class c where c.oid = l)) then
    -- Its rows are gone, and nothing says which they were.
    perform {{schema}}.request(wanted, true, null);
  end if;
  for leaf in
    select l from unnest(leaves_now) l join pg_class c on c.oid = l where l <> all (r.leaves) and c.relkind = 'r'
  loop
    perform {{schema}}.relog(wanted, leaf, 'I');
  end loop;
  if why is not null then
    -- Rows have values that no event carried.
    perform {{schema}}.relog(wanted, null, 'U');
  end if;
end
$tripline$;
revoke execute on function {{schema}}.follow(oid) from public;
