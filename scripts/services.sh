#!/usr/bin/env bash
# The four services that tripline's demo and tests need, on this machine, on loopback only:
# a source and a destination PostgreSQL, Kafka (one node, KRaft) and ClickHouse's HTTP interface.
#
#   scripts/services.sh up [NAME…]      installs what is missing, starts all four (or only the named ones: source,
#                                       destination, kafka, clickhouse), waits until each one answers
#   scripts/services.sh status          one line each; exit 1 if any of them does not answer
#   scripts/services.sh env             export lines with the URLs:  eval "$(scripts/services.sh env)"
#   scripts/services.sh down [--purge]  stops what `up` started; --purge removes the data too
#
# With Docker (`docker info` and `docker compose version` succeed) docker-compose.yml is used, without it plain
# processes: the distribution's PostgreSQL, Kafka from its Maven jars, ClickHouse's engine from its Python package.
#
#   TRIPLINE_SERVICES                 native | docker, instead of choosing
#   TRIPLINE_SERVICES_DIR             data, logs and pid files; default .services in the checkout
#   TRIPLINE_SERVICES_TIMEOUT         seconds that a started service has until it answers; default 120
#   TRIPLINE_SOURCE_PG                major version of PostgreSQL for a new source, from 14 to 18, instead of the newest
#   TRIPLINE_DESTINATION_PG           one that is installed; the same for the destination (native only)
#   TRIPLINE_SOURCE_PORT              5435
#   TRIPLINE_DESTINATION_PORT         5436
#   TRIPLINE_KAFKA_PORT               9092
#   TRIPLINE_KAFKA_CONTROLLER_PORT    9093 (native only)
#   TRIPLINE_CLICKHOUSE_PORT          8123
#
# Another folder and other ports give a second set beside the first. The ports chosen at `up` are remembered in the
# folder. PostgreSQL trusts every local connection: these are services for a development machine, not for a shared one.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
lib=$repo/scripts/lib
# shellcheck source=scripts/lib/deps.sh
source "$lib/deps.sh"
# shellcheck source=scripts/lib/settings.sh
source "$lib/settings.sh"
# shellcheck source=scripts/lib/probes.sh
source "$lib/probes.sh"
# shellcheck source=scripts/lib/processes.sh
source "$lib/processes.sh"
# shellcheck source=scripts/lib/postgres-versions.sh
source "$lib/postgres-versions.sh"
# shellcheck source=scripts/lib/postgres.sh
source "$lib/postgres.sh"
# shellcheck source=scripts/lib/kafka.sh
source "$lib/kafka.sh"
# shellcheck source=scripts/lib/clickhouse.sh
source "$lib/clickhouse.sh"
# shellcheck source=scripts/lib/native.sh
source "$lib/native.sh"
# shellcheck source=scripts/lib/docker.sh
source "$lib/docker.sh"

usage() {
  sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

print_env() {
  local source=127.0.0.1:$TRIPLINE_SOURCE_PORT destination=127.0.0.1:$TRIPLINE_DESTINATION_PORT
  cat <<END
export TRIPLINE_TEST_SOURCE_URL=postgresql://postgres@$source/postgres
export TRIPLINE_TEST_DESTINATION_URL=postgresql://postgres@$destination/postgres
export TRIPLINE_TEST_KAFKA=127.0.0.1:$TRIPLINE_KAFKA_PORT
export TRIPLINE_TEST_CLICKHOUSE_URL=http://127.0.0.1:$TRIPLINE_CLICKHOUSE_PORT
export TRIPLINE_SOURCE_URL=postgresql://tripline@$source/shop
export TRIPLINE_DESTINATION_URL=postgresql://tripline@$destination/shop
export TRIPLINE_KAFKA=127.0.0.1:$TRIPLINE_KAFKA_PORT
export TRIPLINE_CLICKHOUSE_URL=http://127.0.0.1:$TRIPLINE_CLICKHOUSE_PORT
END
  [ "$mode" = native ] || return 0
  local bin name
  for name in source destination; do
    if bin=$(bin_of "$name"); then echo "export TRIPLINE_TEST_${name^^}_BIN=$bin"; fi
  done
}

purge=no
command=${1:-}
case "$command ${*:2}" in
  'up '* | 'status ' | 'env ' | 'down ') ;;
  'down --purge') purge=yes ;;
  'help ' | '-h ' | '--help ') usage && exit 0 ;;
  *) usage >&2 && exit 2 ;;
esac

load_settings
if [ "$command" = up ] && [ $# -gt 1 ]; then choose_services "${@:2}"; fi
find_postgres_root
case $command in
  env) print_env ;;
  status) "${mode}_status" ;;
  up)
    take_lock
    begin_settings
    "${mode}_up"
    ;;
  down)
    take_lock
    "${mode}_down" "$purge"
    end_settings "$purge"
    ;;
esac
