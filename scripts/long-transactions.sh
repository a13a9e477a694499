#!/usr/bin/env bash
# Measures what a transaction that stays open costs others: one on a captured table and one in another database of the
# cluster, while paced writers work. Phases without and with it alternate. Every phase ends with `tripline verify`; figures
# are printed only when all are equal and the late rows have arrived. Exit status 1 when a p99 with it is more than 1.5
# times the one without, 2 when something failed.
#
#   scripts/long-transactions.sh [--seconds N] [--rounds N] [--rate N] [--json FILE] [--binary FILE]
#
#   --seconds N    how long the transactions stay open; default 600. Half as long before and behind without them
#   --rounds N     how many times; default 1
#   --rate N       transactions a second of the writers; default 200
#   --json FILE    writes the ratios and memory there too
#   --binary FILE  measures this one and builds nothing
#
# Needs the services, cargo, python3 (its standard library alone) and libpq.so.5. Everything runs in databases, topics
# and a folder of its own and is dropped afterwards.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

case " $* " in
  *' --help '* | *' -h '*)
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

cd "$repo"
case " $* " in
  *' --binary '*) ;;
  *)
    cargo build --release --locked --quiet
    set -- --binary "${CARGO_TARGET_DIR:-$repo/target}/release/tripline" "$@"
    ;;
esac
scripts/services.sh status >/dev/null 2>&1 || scripts/services.sh up
eval "$(scripts/services.sh env)"
PYTHONDONTWRITEBYTECODE=1 exec python3 scripts/bench/long.py "$@"
