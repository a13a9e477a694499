#!/usr/bin/env bash
# Measures tripline on this machine: how fast it drains a full log, what that costs, and how late changes arrive.
# A figure is printed only after the end state has been verified: counts and digests of the destination equal those of
# the source; where nothing is applied, what the cuts count (docs/performance.md). A difference ends the run with exit
# status 1.
#
#   scripts/bench.sh [--quick] [--only NAME,…] [--rows N] [--json FILE]
#
#   --quick      20,000 rows and 2 seconds of latency: shows that everything runs, says nothing about speed
#   --only       some of the scenarios: drain-kafka drain-postgres drain-clickhouse end-to-end ceilings snapshot
#                hot-keys large-rows latency latency-kafka tpcb overhead bulk
#                passes tables log-size idle retention; and soak, which runs only when it is asked for
#   --rows N     changes to drain; default 1,000,000
#   --seconds N  length of each latency run; default 20
#   --rate N,…   transactions a second in them; default 500,2000, with --quick 500
#   --open N     seconds for which the long transaction of passes stays open; default 600
#   --log-rows N  rows of the log in log-size and idle; default 100,000,000, which takes 15 GB of disk and some minutes
#   --tables N   captured tables in tables; default 500
#   --minutes N  length of soak; default 30
#   --json FILE  writes the results there too
#   --binary FILE  measures this one and builds nothing; examples/bench-kafka has to be beside it
#   --profile    records every tripline process with perf; call graphs are left in the folder that is named at the end
#
# Needs the four services (started with scripts/services.sh when they do not answer), cargo, python3 (its standard
# library alone), pgbench, and libpq.so.5, which psql brings along. Everything runs in databases, topics and a folder of
# its own and is dropped afterwards; tpcb starts two PostgreSQL servers of its own. docs/performance.md says how each
# figure is taken.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

cd "$repo"
# shellcheck source=scripts/lib/bench.sh
source scripts/lib/bench.sh
measure main.py "$@"
