# shellcheck shell=bash
# Sourced by services.sh: the services as plain processes. Each service NAME has, in its own file:
#   NAME_install  what has to be downloaded (packages are installed before, all at once)
#   NAME_start    starts it, without waiting until it answers
#   NAME_answers  takes the port
# and what comes here first knows its folder, process and log.

# Data, log and pid file of a service; no other process has the folder in its command line.
folder_of() {
  case $1 in
    source | destination) echo "$postgres_root/$1" ;;
    *) echo "$services_dir/$1" ;;
  esac
}

pid_file_of() {
  case $1 in
    source | destination) echo "$(folder_of "$1")/data/postmaster.pid" ;;
    *) echo "$(folder_of "$1")/pid" ;;
  esac
}

log_of() {
  echo "$(folder_of "$1")/log"
}

stop_signal_of() {
  case $1 in
    source | destination) echo INT ;; # PostgreSQL's fast shutdown
    *) echo TERM ;;
  esac
}

running() {
  is_ours "$(pid_file_of "$1")" "$(folder_of "$1")"
}

answers() {
  "$1_answers" "$(port_of "$1")"
}

native_any_running() {
  local name
  for name in "${services[@]}"; do
    running "$name" && return
  done
  return 1
}

native_up() {
  local name jobs=() failed=() start=$SECONDS
  [ "$(uname -s)" = Linux ] || fail 'without Docker the services run on Linux only: please start Docker'
  say "services in $services_dir, without Docker"
  native_packages
  choose_postgres_root
  fetch_postgres_versions
  for name in "${services[@]}"; do
    running "$name" || free_port_or_fail "$name"
  done
  mkdir -p "$cache"
  set -m # a process group per job, so that an interrupt ends a job with all it is waiting for
  for name in "${services[@]}"; do
    bring_up "$name" </dev/null &
    jobs+=($!)
  done
  set +m
  # shellcheck disable=SC2064 # the jobs as they are now
  trap "stop_jobs ${jobs[*]}; exit 130" INT TERM
  show_waiting "${jobs[@]}"
  for name in "${!jobs[@]}"; do
    wait "${jobs[name]}" || failed+=("${services[name]}")
  done
  trap - INT TERM
  [ ${#failed[@]} = 0 ] || fail "not up: ${failed[*]}"
  say "all services answer after $((SECONDS - start)) s; their addresses: eval \"\$($0 env)\""
}

stop_jobs() {
  local job
  for job; do
    kill -- "-$job" 2>/dev/null || true
  done
}

# Every ten seconds a line about what is still on its way.
show_waiting() {
  local job i waiting ticks=0
  while :; do
    waiting=
    i=0
    for job; do
      kill -0 "$job" 2>/dev/null && waiting+=" ${services[i]}"
      i=$((i + 1))
    done
    [ -n "$waiting" ] || return 0
    sleep 0.2
    ticks=$((ticks + 1))
    [ $((ticks % 50)) -ne 0 ] || say "still waiting for:$waiting ($((ticks / 5)) s)"
  done
}

native_packages() {
  local packages=()
  command -v flock >/dev/null || packages+=(util-linux)
  postgres_packages
  kafka_packages
  clickhouse_packages
  [ ${#packages[@]} = 0 ] || install_packages services "${packages[@]}"
}

bring_up() {
  local name=$1 start=$SECONDS port
  port=$(port_of "$name")
  if running "$name" && answers "$name"; then
    say "$name: already running (pid $(pid_in "$(pid_file_of "$name")"), port $port)"
  else
    if ! running "$name"; then
      "$name"_install
      "$name"_start
    fi
    wait_until_answers "$name"
    say "$name: answers on port $port after $((SECONDS - start)) s"
  fi
  [[ $name != source && $name != destination ]] || prepare_database "$name"
}

wait_until_answers() {
  local name=$1 start=$SECONDS seen=no
  until answers "$name"; do
    if running "$name"; then
      seen=yes
    elif [ $seen = yes ] || [ $((SECONDS - start)) -ge 5 ]; then
      show_log "$name"
      fail "$name has ended; its log is $(log_of "$name")"
    fi
    if [ $((SECONDS - start)) -ge "$timeout" ]; then
      show_log "$name"
      fail "$name does not answer on port $(port_of "$name") after $timeout s; its log is $(log_of "$name")"
    fi
    sleep 0.1
  done
}

show_log() {
  tail -n 15 "$(log_of "$1")" 2>/dev/null | sed "s/^/$1 | /" >&2
}

free_port_or_fail() {
  local name variable names=("$1")
  [ "$1" != kafka ] || names+=(kafka_controller)
  for name in "${names[@]}"; do
    variable=TRIPLINE_${name^^}_PORT
    ! port_open "${!variable}" || fail "port ${!variable} for $1 is taken by another program: free it, or choose another one with $variable"
  done
}

native_status() {
  local name result=0 pid answer
  for name in "${services[@]}"; do
    pid=- answer=down
    if running "$name"; then
      pid=$(pid_in "$(pid_file_of "$name")")
      answer='does not answer'
      ! answers "$name" || answer=answers
    elif port_open "$(port_of "$name")"; then
      answer='down; the port is taken by another program'
    fi
    [ "$answer" = answers ] || result=1
    printf '%-12s pid %-8s port %-6s %s\n' "$name" "$pid" "$(port_of "$name")" "$answer"
  done
  return $result
}

native_down() {
  local name jobs=() job result=0
  for name in "${services[@]}"; do
    stop_process "$name" "$(pid_file_of "$name")" "$(folder_of "$name")" "$(stop_signal_of "$name")" &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do
    wait "$job" || result=1
  done
  [ $result = 0 ] || fail 'not everything has stopped'
  [ "$1" = yes ] || return 0
  rm -rf "$services_dir/kafka" "$services_dir/clickhouse"
  purge_postgres
  say "data removed"
}
