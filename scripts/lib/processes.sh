# shellcheck shell=bash
# Sourced by services.sh: background processes, known by a pid file and by a folder of their own, which is in their
# command line and in nobody else's. A pid alone is never trusted: it may be stale.

pid_in() {
  head -n 1 "$1" 2>/dev/null || true
}

# is_ours PIDFILE FOLDER: the process in the pid file lives and works in the folder.
is_ours() {
  local pid
  pid=$(pid_in "$1")
  [[ $pid =~ ^[0-9]+$ ]] && grep -qzF -e "$2/" "/proc/$pid/cmdline" 2>/dev/null
}

# For the subshell that starts a daemon: closes what the caller has open, so that nobody waits for a daemon to close it.
close_descriptors() {
  local fd
  for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
  done
}

# start_detached PIDFILE LOG COMMAND…: in a session of its own, output to the log.
start_detached() {
  local pid_file=$1 log=$2
  shift 2
  (
    close_descriptors
    # shellcheck disable=SC2016 # the inner shell expands it: its pid becomes the command's
    exec setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' _ "$pid_file" "$@" </dev/null >>"$log" 2>&1
  ) &
}

# stop_process NAME PIDFILE FOLDER SIGNAL: waits for the end.
stop_process() {
  local name=$1 pid_file=$2 folder=$3 signal=$4 pid start=$SECONDS
  if ! is_ours "$pid_file" "$folder"; then
    say "$name: not running"
    return
  fi
  pid=$(pid_in "$pid_file")
  kill -s "$signal" "$pid"
  while is_ours "$pid_file" "$folder"; do
    if [ $((SECONDS - start)) -ge "$timeout" ]; then
      say "$name: pid $pid has not ended $timeout s after SIG$signal"
      return 1
    fi
    sleep 0.1
  done
  say "$name: stopped (pid $pid)"
}
