# shellcheck shell=bash disable=SC2154
# Sourced by demo.sh: the same rows in three stores, shown and compared. Every row and every column counts.

# The same rows side by side: two that were loaded first, one whose key moved, one that committed late.
show_rows() {
  local ids store form='  %-8s %-12s %-14s %11s %-7s %-16s %s\n' id name salary active profile at
  ids=$(sql source -At -c "select string_agg(id::text, ', ') from (select unnest(array[1, 41,
    (select max(id) from employees where id > 1000000), (select max(id) from employees where name = 'Late')]) as id) as shown")
  for store in source destination; do
    sql "$store" -At -F $'\037' -c "select id, '$store', name, salary, active, coalesce(left(profile::text, 16), 'NULL'),
      to_char(updated_at at time zone 'UTC', 'HH24:MI:SS.US') from employees where id in ($ids)"
  done >"$demo/rows"
  clickhouse "SELECT concatWithSeparator(char(31), toString(id), 'clickhouse', name, toDecimalString(salary, 2), if(active, 't', 'f'),
    ifNull(left(profile, 16), 'NULL'), substring(toString(updated_at), 12)) FROM employees_current WHERE id IN ($ids) FORMAT TSVRaw" >>"$demo/rows"
  # shellcheck disable=SC2059 # the form is ours
  {
    printf "$form" id store name salary active profile 'updated_at (UTC)'
    sort -s -n -t $'\037' -k 1,1 "$demo/rows" | while IFS=$'\037' read -r id store name salary active profile at; do
      printf "$form" "$id" "$store" "$name" "$salary" "$active" "$profile" "$at"
    done
  }
}

# Compares all tables; one verdict line each; fails when anything differs.
compare_stores() {
  local table pg_key ch_key pg_row ch_row result=0
  while IFS=$'\t' read -r table pg_key ch_key pg_row ch_row; do
    compare_table || result=1
  done < <(sql source -At -F $'\t' -f "$repo/scripts/demo/canonical.sql")
  return $result
}

# Reads the caller's table, keys and rows. Source and destination: md5 over PostgreSQL's own text of the ordered rows.
# ClickHouse: md5 over the canonical text, made there and at the source.
compare_table() {
  local plain canonical source destination source_rows mirror differing=()
  plain="select count(*), md5(coalesce(string_agg(t::text, e'\n' order by $pg_key), '')) from $table t"
  canonical="select count(*), md5(coalesce(string_agg($pg_row, e'\n' order by $pg_key), '')) from $table t"
  source=$(sql source -At -c "$exact" -c "$plain")
  destination=$(sql destination -At -c "$exact" -c "$plain")
  source_rows=$(sql source -At -c "$exact" -c "$canonical")
  mirror=$(clickhouse "SELECT concat(toString(count()), '|', lower(hex(MD5(arrayStringConcat(
      arrayMap(row -> row.2, arraySort(row -> row.1, groupArray((($ch_key), $ch_row)))), '\n'))))) FROM ${table}_current") || mirror=error
  [ "$source" = "$destination" ] || differing+=("the destination, with $(thousands "${destination%|*}") rows")
  [ "$source_rows" = "$mirror" ] || differing+=("ClickHouse, with $(thousands "${mirror%|*}") rows")
  if [ ${#differing[@]} = 0 ]; then
    printf '  %-12s %9s rows  equal in three stores\n' "$table" "$(thousands "${source%|*}")"
    return 0
  fi
  printf '  %-12s %9s rows  DIFFERENT: %s\n' "$table" "$(thousands "${source%|*}")" "$(printf '%s; ' "${differing[@]}" | sed 's/; $//')"
  show_differing_keys
  return 1
}

exact="set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 1"

# Names up to five keys per store whose rows differ from the source's; never the values.
show_differing_keys() {
  local store keys="select $pg_key, md5($pg_row) from $table t order by $pg_key"
  sql source -At -F ' ' -c "$keys" >"$demo/keys.source"
  sql destination -At -F ' ' -c "$keys" >"$demo/keys.destination"
  clickhouse "SELECT $ch_key, lower(hex(MD5($ch_row))) FROM ${table}_current ORDER BY $ch_key" | tr '\t' ' ' >"$demo/keys.clickhouse"
  for store in destination clickhouse; do
    diff "$demo/keys.source" "$demo/keys.$store" | sed -nE "s/^([<>]) (.*) [0-9a-f]{32}$/    \1 key \2/p" | sort -u -k 3 | head -n 5 |
      sed "s/^    < /    $store lacks or differs at /; s/^    > /    $store alone has or differs at /"
  done
}
