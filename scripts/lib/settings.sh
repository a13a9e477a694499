# shellcheck shell=bash
# Sourced by services.sh: where things are and which ports they use; what `up` chose is remembered until `down --purge`.

services=(source destination kafka clickhouse)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tripline
port_names=(TRIPLINE_SOURCE_PORT TRIPLINE_DESTINATION_PORT TRIPLINE_KAFKA_PORT TRIPLINE_KAFKA_CONTROLLER_PORT TRIPLINE_CLICKHOUSE_PORT)
default_ports=(5435 5436 9092 9093 8123)

# Sets services_dir, mode, timeout and the ports. A port comes from the environment, else from the last `up`, else the default.
load_settings() {
  services_dir=$(realpath -m "${TRIPLINE_SERVICES_DIR:-$repo/.services}")
  timeout=${TRIPLINE_SERVICES_TIMEOUT:-120}
  local i name recorded
  for i in "${!port_names[@]}"; do
    name=${port_names[i]}
    recorded=$(recorded_port "$name")
    [ -n "${!name:-}" ] || printf -v "$name" '%s' "${recorded:-${default_ports[i]}}"
    [[ ${!name} =~ ^[0-9]+$ ]] || fail "$name is not a port number: ${!name}"
    export "${name?}"
  done
  mode=${TRIPLINE_SERVICES:-}
  [ -n "$mode" ] || mode=$(cat "$services_dir/mode" 2>/dev/null || true)
  [ -n "$mode" ] || mode=$(detect_mode)
  case $mode in
    native | docker) ;;
    *) fail "TRIPLINE_SERVICES must be native or docker, not $mode" ;;
  esac
}

# From here on only these.
choose_services() {
  local name
  for name; do
    [[ " ${services[*]} " == *" $name "* ]] || fail "$name is none of the services ${services[*]}"
  done
  services=("$@")
}

recorded_port() {
  sed -n "s/^$1=//p" "$services_dir/ports" 2>/dev/null || true
}

detect_mode() {
  if command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    echo docker
  else
    echo native
  fi
}

port_of() {
  local name=${1^^}
  name=TRIPLINE_${name}_PORT
  echo "${!name}"
}

# One `up` or `down` at a time; the daemons do not inherit the lock.
take_lock() {
  mkdir -p "$services_dir"
  chmod go+rx "$services_dir"
  exec 9>"$services_dir/lock"
  flock -n 9 && return
  say "waiting for another services.sh in $services_dir"
  flock 9
}

# Refuses to change mode or ports under running services, then records what this `up` uses.
begin_settings() {
  local name recorded
  if [ -e "$services_dir/mode" ]; then
    recorded=$(cat "$services_dir/mode")
    [ "$recorded" = "$mode" ] || fail "the services in $services_dir run in mode $recorded: stop them first (TRIPLINE_SERVICES=$recorded $0 down)"
    for name in "${port_names[@]}"; do
      recorded=$(recorded_port "$name")
      if [ "${!name}" != "${recorded:-${!name}}" ] && "${mode}_any_running"; then
        fail "the services in $services_dir run with $name=$recorded, not ${!name}: stop them first ($0 down)"
      fi
    done
  fi
  echo "$mode" >"$services_dir/mode"
  for name in "${port_names[@]}"; do
    echo "$name=${!name}"
  done >"$services_dir/ports"
}

end_settings() {
  rm -f "$services_dir/mode"
  [ "$1" = yes ] || return 0
  rm -f "$services_dir/ports" "$services_dir/lock"
  rmdir "$services_dir" 2>/dev/null || true
}
