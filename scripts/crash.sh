#!/usr/bin/env bash
# Kills publisher and applier again and again under a random load, at failpoints and at random moments, and checks the
# whole history behind each round: topics, destination, ClickHouse, and what readers of the destination saw meanwhile.
#
#   scripts/crash.sh [--seeds N] [--first N] [--seconds S]
#
#   --seeds N     rounds, each with a pipeline of its own (default 20)
#   --first N     seed of the first round (default 1): --first 17 --seeds 1 repeats one that failed
#   --seconds S   how long the kills of a round go on (default 20)
#
# Needs the services (scripts/services.sh up). Stops at the first round that fails and prints its seed; exit code 1.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$repo"

seeds=20 first=1 seconds=20
while [ $# -gt 0 ]; do
  case $1 in
    --seeds | --first | --seconds)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "$1 needs a number above 0" >&2 && exit 1; }
      declare "${1#--}=$2"
      shift 2
      ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
    *) echo "unknown option $1; see $0 --help" >&2 && exit 1 ;;
  esac
done

eval "$(scripts/services.sh env)"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tripline/target}
export TRIPLINE_TEST_SEEDS=$first-$((first + seeds - 1)) TRIPLINE_TEST_SECONDS=$seconds

cargo test --locked --test it history::kills::random -- --nocapture | awk '
  { print; fflush() }
  # seed 3 ExactlyOnce window_rows 5000: 9 kills at failpoints and 4 at random moments survived, 5 messages checked, …
  /^seed / && / survived, / {
    rounds++
    for (i = 1; i < NF; i++) {
      if ($(i + 1) == "kills") at_points += $i
      if ($(i + 1) == "at" && $(i + 2) == "random") at_moments += $i
      if ($(i + 1) == "messages") messages += $i
      if ($(i + 1) == "rows") rows += $i
      if ($(i + 1) == "applied") states += $i
      if ($(i + 1) == "looks") looks += $i
    }
  }
  END {
    printf "\n%d rounds, %d kills survived (%d at failpoints, %d at random moments); ", rounds, at_points + at_moments, at_points, at_moments
    printf "%d messages, %d rows and %d applied states checked, %d looks\n", messages, rows, states, looks
  }'
