#!/usr/bin/env bash
# Shows the whole pipeline at work on this machine, and proves at the end that nothing was lost or changed on the way.
#
#   scripts/demo.sh [--seconds N] [--keep]
#
# Starts the four services if they do not run yet, builds tripline, makes two databases "demo" and one in ClickHouse,
# runs `tripline init`, `check` and `run`, lets applications write for some seconds, and compares every row and every
# column of all tables in the source, the destination and ClickHouse. Exit code 1 when anything differs.
#
#   --seconds N   how long the load lasts; default 8
#   --keep        leaves tripline and the services running, to look around and try things
#   -h, --help    this text
#
# It may be run again and again: every run drops what the last one made (databases and topics named demo, and the folder
# .services/demo), and nothing else. TRIPLINE_BIN names a binary to use instead of building one; CARGO_TARGET_DIR and the
# variables of scripts/services.sh are respected.
set -Eeuo pipefail
trap 'say "error: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
for name in deps postgres demo demo-compare; do
  # shellcheck source=/dev/null
  source "$repo/scripts/lib/$name.sh"
done

usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

seconds=8 keep=no
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:-} && shift ;;
    --seconds=*) seconds=${1#*=} ;;
    --keep) keep=yes ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift || true
done
[[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || fail "--seconds needs a number, not $seconds"

# Only the demo's own file is to count.
for name in ${!TRIPLINE__@} RUST_LOG; do unset "$name"; done
export NO_COLOR=1
demo=$(realpath -m "${TRIPLINE_SERVICES_DIR:-$repo/.services}")/demo
started_services=no
writers=()

title() { printf '\n== %s\n' "$*"; }

finish() {
  local status=$?
  trap - EXIT INT TERM
  if [ ${#writers[@]} -gt 0 ]; then kill "${writers[@]}" 2>/dev/null || true; fi
  if [ $status != 0 ] && [ -s "$demo/log" ]; then
    say "last lines of $demo/log:"
    tail -n 20 "$demo/log" | sed 's/^/  | /' >&2
  fi
  if [ $keep = yes ] && [ $status = 0 ]; then exit 0; fi
  demo_stop || status=1
  if [ $started_services = yes ]; then "$repo/scripts/services.sh" down || status=1; fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start=$SECONDS
title 'services: source and destination PostgreSQL, Kafka, ClickHouse'
if state=$("$repo/scripts/services.sh" status); then
  say "$state"
else
  grep -qE ' (answers|healthy)$' <<<"$state" || started_services=yes
  "$repo/scripts/services.sh" up
fi
demo_packages
demo_stores

binary=${TRIPLINE_BIN:-}
if [ -z "$binary" ]; then
  title 'build: cargo build --release --locked'
  need_rust_build
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tripline/target}
  (cd "$repo" && cargo build --release --locked)
  binary=$CARGO_TARGET_DIR/release/tripline
  [[ $binary == /* ]] || binary=$repo/$binary
fi

title 'tripline init: capture at the source, topics, tables at both targets'
mkdir -p "$demo"
demo_stop
demo_databases
demo_config
sql source -f "$repo/scripts/demo/schema.sql"
demo_init

title 'tripline check'
tripline check | sed 's/^/  /'

title "tripline run, and $seconds seconds of load"
demo_start
say "tripline runs (pid $(cat "$demo/pid"), log $demo/log)"
sql source -f "$repo/scripts/demo/rows.sql"
demo_load "$seconds"
load_start=$SECONDS
while [ $((SECONDS - load_start)) -lt "$seconds" ]; do
  sleep 0.7
  demo_progress $((SECONDS - load_start))
done
demo_wait_load
load_end=$(date +%s%N)
demo_wait_caught_up
printf '  caught up %s s after the last write\n' "$(awk -v ns=$(($(date +%s%N) - load_end)) 'BEGIN { printf "%.1f", ns / 1e9 }')"

title 'tripline status'
sed 's/^/  /' "$demo/status"

title 'the same rows in three stores'
show_rows

title 'comparison: every row and every column of every table'
compare_stores || fail 'the stores differ'
say "all equal; $((SECONDS - start)) s in all"

title 'next'
if [ $keep = yes ]; then
  cat <<END
  Still running. Look and write:
    psql ${source_url:?} -c "update employees set salary = salary + 1 where id = 1"
    psql ${destination_url:?} -c "select salary from employees where id = 1"
    curl "$TRIPLINE_CLICKHOUSE_URL/?database=demo" --data-binary "SELECT salary FROM employees_current WHERE id = 1"
    $binary -c $demo/tripline.toml status
    tail -f $demo/log
  Stop it with  kill $(cat "$demo/pid")  and the services with  scripts/services.sh down
END
else
  cat <<END
  scripts/demo.sh --keep           the same, left running to look around
  scripts/demo.sh --seconds 60     more load
  README.md                        tripline with two databases of your own
END
fi
