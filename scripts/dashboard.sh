#!/usr/bin/env bash
# Asks a real Prometheus, which scrapes a daemon for a short while, every query of the Grafana dashboard.
#
#   scripts/dashboard.sh [--svg FILE]     --svg: also draws the panels where the dashboard has them
#
# BINARY names the program (default: cargo's debug build). Needs prometheus and the services' addresses in the environment
# (eval "$(scripts/services.sh env)"). Exit code 0 when every query finds a series, 1 when not, 3 when it cannot be run here.
set -euo pipefail
case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
esac
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PYTHONDONTWRITEBYTECODE=1 exec python3 "$repo/scripts/dashboard/main.py" \
  "${BINARY:-${CARGO_TARGET_DIR:-$repo/target}/debug/tripline}" "$@"
