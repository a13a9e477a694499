-- For every table: how to write a row as text that comes out equal in PostgreSQL and in ClickHouse, over all columns.
-- A value is V<bytes>:<text> and NULL is N, so different rows never share a text.
-- Columns: table, key for PostgreSQL's ORDER BY, key for ClickHouse, row in PostgreSQL, row in ClickHouse.
select c.relname, keys.pg, keys.ch, format('concat(%s)', cols.pg), format('concat(%s)', cols.ch)
from pg_class c
cross join lateral (
  select string_agg(format('coalesce(''V'' || octet_length(%1$s) || '':'' || (%1$s), ''N'')', pg), ', ' order by attnum) as pg,
         string_agg(format('ifNull(concat(''V'', toString(length(%1$s)), '':'', %1$s), ''N'')', ch), ', ' order by attnum) as ch
  from (
    select a.attnum,
      case
        when t.typname = 'numeric' then format('trim_scale(%I)::text', a.attname)
        when t.typname = 'timestamptz' then format('to_char(%I at time zone ''UTC'', ''YYYY-MM-DD HH24:MI:SS.US'')', a.attname)
        when t.typcategory = 'A' then format('array_to_json(%I)::text', a.attname)
        else format('%I::text', a.attname)
      end as pg,
      case
        -- digits behind the point are a matter of display: compared without trailing zeros, as PostgreSQL is above
        when t.typname = 'numeric' and a.atttypmod = -1 then
          format('if(position(`%1$s`, ''.'') = 0, `%1$s`, trim(TRAILING ''.'' FROM trim(TRAILING ''0'' FROM `%1$s`)))', a.attname)
        when t.typcategory = 'A' and a.attnotnull then format('toJSONString(`%s`)', a.attname)
        else format('toString(`%s`)', a.attname)
      end as ch
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) typed) cols
cross join lateral (
  select string_agg(format(case when t.typname = 'text' then '%I collate "C"' else '%I' end, a.attname), ', ' order by k.n) as pg,
         string_agg(format('`%s`', a.attname), ', ' order by k.n) as ch
  from pg_index i
  cross join generate_series(0, i.indnkeyatts - 1) k(n)
  join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[k.n]
  join pg_type t on t.oid = a.atttypid
  where i.indrelid = c.oid and i.indisprimary) keys
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
order by array_position(array['employees', 'customers', 'products', 'orders', 'order_lines'], c.relname::text)
