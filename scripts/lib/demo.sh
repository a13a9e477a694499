# shellcheck shell=bash disable=SC2154
# Sourced by demo.sh: its databases, its load, and its tripline process.


# The four stores, by the addresses that services.sh tells. Everything of the demo's has its own name: demo.
demo_stores() {
  eval "$("$repo/scripts/services.sh" env)"
  source_url=${TRIPLINE_SOURCE_URL%/*}/demo
  destination_url=${TRIPLINE_DESTINATION_URL%/*}/demo
}

demo_packages() {
  local packages=()
  command -v psql >/dev/null || packages+=(postgresql-client)
  command -v curl >/dev/null || packages+=(curl)
  [ -n "$(find_pgbench)" ] || {
    keep_debian_from_creating_a_cluster
    packages+=(postgresql-contrib)
  }
  [ ${#packages[@]} = 0 ] || install_packages demo "${packages[@]}"
  pgbench=$(find_pgbench)
  [ -n "$pgbench" ] || fail 'pgbench is not installed and could not be: it belongs to the PostgreSQL packages'
}

find_pgbench() {
  command -v pgbench && return
  local bin
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin/pgbench | sort -V | tail -n 1)
  [ ! -x "$bin" ] || echo "$bin"
}

# sql source|destination ARGUMENT…: psql as the demo's role, quiet, an error ends it.
sql() {
  local url=${1}_url
  shift
  PGOPTIONS='-c client_min_messages=warning' psql -X -q -v ON_ERROR_STOP=1 "${!url}" "$@"
}

# clickhouse TEXT: a statement in the demo's database; rows come back separated by tabs.
clickhouse() {
  curl -sS --fail-with-body "$TRIPLINE_CLICKHOUSE_URL/?database=${2-demo}&output_format_json_escape_forward_slashes=0" \
    --data-binary "$1"
}

# Databases anew on both servers and in ClickHouse. The server's administrator makes them, for a role that owns nothing else.
demo_databases() {
  local url
  for url in "$TRIPLINE_TEST_SOURCE_URL" "$TRIPLINE_TEST_DESTINATION_URL"; do
    PGOPTIONS='-c client_min_messages=warning' psql -X -q -v ON_ERROR_STOP=1 "$url" \
      -c 'drop database if exists demo with (force)' -c 'create database demo owner tripline'
  done
  clickhouse 'DROP DATABASE IF EXISTS demo SYNC' default
}

demo_config() {
  cat >"$demo/tripline.toml" <<END
# written by scripts/demo.sh
pipeline = "demo"

[source]
url = "$source_url"
tables = ["public.*"]

[offset]
dir = "$demo/offsets"

[kafka]
bootstrap_servers = "$TRIPLINE_KAFKA"

[destination]
url = "$destination_url"

[clickhouse]
url = "$TRIPLINE_CLICKHOUSE_URL"
database = "demo"
END
}

tripline() { "$binary" -c "$demo/tripline.toml" "$@"; }

# Installs, on top of whatever an earlier run left on the topics: then its topics and position are given up first.
demo_init() {
  tripline_init
  if ! grep -q '^offset file: written' "$demo/init" || ! grep -qE '^topics: ([0-9]+) created, \1 in all' "$demo/init"; then
    say 'an earlier demo left topics: starting over with tripline offset reset'
    tripline offset reset --yes --clear-destination --clear-topics >/dev/null || fail 'tripline offset reset failed'
    tripline_init
  fi
  sed 's/^/  /' "$demo/init"
}

# A broker may need a moment until it leads topics that were just created; init may be said again at any time.
tripline_init() {
  local attempt
  : >"$demo/init"
  for attempt in 1 2 3; do
    RUST_LOG=warn tripline init >>"$demo/init" && return
    sleep "$attempt"
  done
  fail 'tripline init failed'
}

# True when the pid in the file is a tripline of this demo.
tripline_runs() {
  local pid
  pid=$(cat "$demo/pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  if [ -r "/proc/$pid/cmdline" ]; then
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$demo/tripline.toml"
  else
    ps -p "$pid" -o args= 2>/dev/null | grep -qF "$demo/tripline.toml"
  fi
}

demo_start() {
  local start=$SECONDS
  "$binary" -c "$demo/tripline.toml" run </dev/null >"$demo/log" 2>&1 &
  echo $! >"$demo/pid"
  until grep -q ' ready$' "$demo/log"; do
    tripline_runs || fail 'tripline run has ended'
    [ $((SECONDS - start)) -lt 60 ] || fail 'tripline run is not ready after 60 s'
    sleep 0.1
  done
}

# Asks it to stop, by its pid, and waits.
demo_stop() {
  local pid start=$SECONDS
  tripline_runs || { rm -f "$demo/pid" && return 0; }
  pid=$(cat "$demo/pid")
  kill -TERM "$pid"
  while tripline_runs; do
    [ $((SECONDS - start)) -lt 60 ] || { say "tripline (pid $pid) does not end after SIGTERM" && return 1; }
    sleep 0.1
  done
  rm -f "$demo/pid"
  say "tripline stopped (pid $pid)"
}

# Mixed load for $1 seconds, in the background; its processes are in $writers.
demo_load() {
  local seconds=$1 half=$(($1 / 2))
  local end=$((SECONDS + seconds))
  "$pgbench" -n -c 4 -j 1 -R 150 -T "$seconds" -M simple -f "$repo/scripts/demo/order.sql@2" \
    -f "$repo/scripts/demo/change.sql@3" "$source_url" >"$demo/pgbench" 2>&1 &
  writers=($!)
  (while [ $SECONDS -lt $end ]; do
    sql source -f "$repo/scripts/demo/edits.sql" || exit 1
    sleep 0.3
  done) >"$demo/edits" 2>&1 &
  writers+=($!)
  sql source -v wait=$((half > 0 ? half : 1)) -f "$repo/scripts/demo/late.sql" >"$demo/late" 2>&1 &
  writers+=($!)
}

demo_wait_load() {
  local i logs=(pgbench edits late)
  for i in "${!writers[@]}"; do
    wait "${writers[i]}" || {
      tail -n 5 "$demo/${logs[i]}" >&2
      fail "the load failed: $demo/${logs[i]}"
    }
  done
  writers=()
}

# One line of progress: what the source logged, and what each stage still has before it.
demo_progress() {
  local logged
  logged=$(sql source -At -c "select coalesce(pg_sequence_last_value('cdc.cdc_id_seq'), 0)")
  tripline status 2>/dev/null | awk -v s="$1" -v n="$(thousands "$logged")" '
    $1 == "source" && NF == 4 { a = $3 } $1 == "postgres" && NF == 4 { b = $3 } $1 == "clickhouse" && NF == 4 { c = $3 }
    END { printf "  %3d s  %9s changes logged   rows not yet published %5s, not yet in PostgreSQL %5s, not yet in ClickHouse %5s\n", s, n, a, b, c }' ||
    true # exit status 1: something is behind, as it should be
}

# Waits until status exits 0: nothing is behind, at any stage.
demo_wait_caught_up() {
  local deadline=$((SECONDS + 120))
  until tripline status >"$demo/status" 2>&1; do
    tripline_runs || fail 'tripline run has ended'
    [ $SECONDS -lt $deadline ] || {
      cat "$demo/status" >&2
      fail 'still behind after 120 s'
    }
    sleep 0.1
  done
}

# 1234567 → 1,234,567
thousands() {
  local n=$1
  while [[ $n =~ ^([0-9]+)([0-9]{3}.*)$ ]]; do n=${BASH_REMATCH[1]},${BASH_REMATCH[2]}; done
  echo "$n"
}
