#!/usr/bin/env bash
# Checks and tests the alert rules with promtool (PROMTOOL, else the one in PATH; in Debian's package prometheus).
# Exit code 0 when they are right, 1 when not, 3 when there is no promtool: then nothing was tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../packaging/prometheus"

promtool=${PROMTOOL:-promtool}
if ! command -v "$promtool" >/dev/null; then
  echo 'rules: NOT TESTED, promtool is not installed' >&2
  exit 3
fi
"$promtool" check rules alerts.yml
"$promtool" test rules alerts_test.yml
