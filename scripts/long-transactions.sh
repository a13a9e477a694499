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

cd "$repo"
# shellcheck source=scripts/lib/bench.sh
source scripts/lib/bench.sh
measure long.py "$@"
