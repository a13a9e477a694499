#!/usr/bin/env bash
# Runs an instance of the unit under a real systemd: a user manager in a mount namespace and a cgroup of its own, also where
# systemd is not the machine's first process. What only the system manager can do is taken out of the unit before: its
# user, the state directory, and the sandbox, which scripts/test.sh checks by itself.
#
#   scripts/test-systemd.sh [BINARY]     BINARY: tripline to run (default: cargo's debug build)
#
# Needs root, systemd, and the services' addresses in the environment (eval "$(scripts/services.sh env)").
# Exit code 0 when all is right, 1 when not, 3 when it cannot be run here: then nothing was tested.
set -euo pipefail

case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
esac
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
binary=${1:-${CARGO_TARGET_DIR:-$repo/target}/debug/tripline}
not_here() { printf 'systemd: NOT TESTED, %s\n' "$*" >&2; exit 3; }
said() { printf 'ok: %s\n' "$*"; }

((EUID == 0)) || not_here 'only root may make namespaces and cgroups'
[ -x /lib/systemd/systemd ] || not_here 'there is no systemd (Debian: package systemd)'
[ -n "${TRIPLINE_TEST_SOURCE_URL:-}" ] || not_here 'the services are not in the environment'
[ -x "$binary" ] || not_here "there is no $binary"
binary=$(realpath "$binary")

work=$(mktemp -d)
name=systemd_$$
unit=tripline@$name.service
groups=() manager='' writer=''
export HOME=$work/home XDG_RUNTIME_DIR=$work/run
unset DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET
systemctl() { command systemctl --user "$@"; }

finish() {
  local status=$? group
  trap - EXIT
  if [ -n "$writer" ]; then kill "$writer" 2>/dev/null || true; fi
  if [ $status != 0 ] && [ $status != 3 ]; then tail -n 40 "$work/log" "$work/manager" >&2 2>/dev/null || true; fi
  if [ -n "$manager" ]; then
    systemctl stop "$unit" 2>/dev/null || true
    "$binary" -c "$work/$name.toml" uninstall --all --drop-mirror --yes >/dev/null 2>&1 || true
    kill -TERM "$manager" 2>/dev/null || true
    wait "$manager" 2>/dev/null || true
  fi
  for url in "$TRIPLINE_TEST_SOURCE_URL" "$TRIPLINE_TEST_DESTINATION_URL"; do
    psql -qX -c "drop database if exists $name with (force)" "$url" || true
  done
  if [ -n "${TRIPLINE_TEST_CLICKHOUSE_URL:-}" ]; then
    curl -fsS "$TRIPLINE_TEST_CLICKHOUSE_URL" --data-binary "drop database if exists $name" || true
  fi
  for group in "${groups[@]}"; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  rm -rf --one-file-system "$work"
  exit $status
}
trap finish EXIT

fail() { printf 'systemd: %s\n' "$*" >&2; exit 1; }
show() { systemctl show --property="$1" --value "$unit"; }
# until_true SECONDS WHAT COMMAND…
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "not after ${deadline} s of the run: $what"
    sleep 0.1
  done
}

# The manager: it believes that systemd runs here because of the folder in a /run/systemd that nobody else sees.
mkdir -p "$HOME/.config/systemd/user" "$XDG_RUNTIME_DIR"
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [ -w "$hierarchy/cgroup.procs" ] || continue
  group=$hierarchy/tripline-test-$$
  mkdir "$group" || not_here "$hierarchy takes no new cgroup"
  groups+=("$group")
done
((${#groups[@]} > 0)) || not_here 'there are no cgroups to be written to'
(
  for group in "${groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
  exec unshare --mount --propagation private sh -c \
    'mount -t tmpfs tripline /run/systemd && mkdir /run/systemd/system && exec /lib/systemd/systemd --user --unit=basic.target'
) >"$work/manager" 2>&1 &
manager=$!
for _ in $(seq 50); do
  if systemctl show --property=Version >/dev/null 2>&1; then break; fi
  kill -0 $manager 2>/dev/null || break
  sleep 0.1
done
systemctl show --property=Version >/dev/null 2>&1 || { cat "$work/manager" >&2; manager=''; not_here 'a user manager does not start here'; }

# The unit as it is packaged, without what needs the system manager.
sed -e "s|/usr/bin/tripline|$binary|; s|/etc/tripline|$work|; s|/var/lib/tripline|$work/state|; s|^RestartSec=.*|RestartSec=200ms|" \
  -e '/^User=\|^Group=\|^StateDirectory\|^WorkingDirectory=/d' \
  -e '/^# Nothing but the network/,/^UMask=/d' "$repo/packaging/systemd/tripline@.service" >"$HOME/.config/systemd/user/tripline@.service"
mkdir "$HOME/.config/systemd/user/$unit.d"
# drop_in FILE: where the unit finds its secret.
drop_in() {
  cat >"$HOME/.config/systemd/user/$unit.d/test.conf" <<TEXT
[Service]
StandardError=append:$work/log
LoadCredential=source.url:$work/source.url
Environment=TRIPLINE__SOURCE__URL_FILE=$1
TEXT
  systemctl daemon-reload
}
source_url=${TRIPLINE_TEST_SOURCE_URL%/*}/$name
destination_url=${TRIPLINE_TEST_DESTINATION_URL%/*}/$name
(umask 077 && echo "$source_url" >"$work/source.url")
cat >"$work/$name.toml" <<TEXT
pipeline = "$name"
source.tables = ["public.*"]
kafka.bootstrap_servers = "$TRIPLINE_TEST_KAFKA"
offset.dir = "$work/state"
destination.url = "$destination_url"
log.format = "text"
log.level = "info"
TEXT
for url in "$TRIPLINE_TEST_SOURCE_URL" "$TRIPLINE_TEST_DESTINATION_URL"; do psql -qX -c "create database $name" "$url"; done
psql -qX -c 'create table t (id int primary key, v text)' "$source_url"
tripline() { CREDENTIALS_DIRECTORY=$work TRIPLINE__SOURCE__URL_FILE=source.url "$binary" -c "$work/$name.toml" "$@"; }
tripline init >/dev/null
secret=source.url handed_over='with a secret that systemd handed over'
drop_in source.url
if ! systemctl start "$unit" 2>/dev/null; then
  # Not every user manager has LoadCredential=.
  grep -q 'cannot read source.url' "$work/log" || fail 'it does not start'
  handed_over='with its secret by an absolute path, because this manager hands over no credentials'
  secret=$work/source.url
  drop_in "$secret"
  systemctl start "$unit" || fail 'it does not start'
fi
grep -q 'INFO ready' "$work/log" || fail 'systemctl start came back before it was ready'
has_status() { [[ $(show StatusText) == *'publish: 0 rows, '*'apply postgres: '* ]]; }
until_true 20 'a status with lag' has_status
said "started: active once it was ready, $handed_over; status: $(show StatusText)"

# Kills, while somebody writes.
(
  i=0
  while :; do
    i=$((i + 1))
    echo "insert into t values ($i, 'v'); update t set v = 'w' where id = $i - 10;"
  done | psql -qX "$source_url" >/dev/null 2>&1
) &
writer=$!
has_rows() { [ "$(psql -qXAt -c 'select count(*) from t' "$destination_url")" -gt "$1" ]; }
until_true 20 'rows at the destination' has_rows 100
for _ in 1 2 3; do
  pid=$(show MainPID) restarts=$(show NRestarts)
  systemctl kill --signal=KILL --kill-who=main "$unit"
  is_back() { [ "$(show NRestarts)" -gt "$restarts" ] && [ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$pid" ]; }
  until_true 60 'started again' is_back
  until_true 30 'going on' has_rows "$(psql -qXAt -c 'select count(*) from t' "$destination_url")"
done
kill $writer 2>/dev/null || true
psql -qX -c "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$name' and application_name = 'psql' and pid <> pg_backend_pid()" "$source_url" >/dev/null
writer=''
is_through() { tripline status >/dev/null; }
until_true 60 'everything applied' is_through
tripline verify >"$work/verified" || fail "source and destination differ: $(cat "$work/verified")"
said "killed three times while somebody wrote: started again, $(psql -qXAt -c 'select count(*) from t' "$destination_url") rows, all equal"

sed -i 's/^log.level = .*/log.level = "info,tripline=debug"/' "$work/$name.toml"
systemctl reload "$unit"
is_reloaded() { grep -q 'read the configuration again' "$work/log"; }
until_true 10 'the log level' is_reloaded
[ "$(show ActiveState)" = active ] || fail 'a reload ended it'
said 'reloaded: the log level is another one'

# The script asks for the system's units.
mkdir "$work/bin"
printf '#!/bin/sh\nexec /usr/bin/env systemctl --user "$@"\n' >"$work/bin/systemctl"
sed -i "s|/usr/bin/env systemctl|$(type -P systemctl)|" "$work/bin/systemctl"
chmod +x "$work/bin/systemctl"
reset() {
  PATH=$work/bin:$PATH TRIPLINE_BIN=$binary "$repo/scripts/reset-offsets.sh" --instance "$name" --config "$work/$name.toml" "$@" \
    >"$work/reset" 2>&1 || { cat "$work/reset" >&2; fail 'reset-offsets.sh does not work with the unit'; }
}
# The script reads what the unit's LoadCredential= names, whoever hands it over to the unit.
drop_in source.url
reset --dry-run
grep -q 'delete the consumer group\|delete the destination' "$work/reset" || { cat "$work/reset" >&2; fail 'it has not seen the secret'; }
drop_in "$secret"
reset --clear-destination --start --yes
[ "$(show ActiveState)" = active ] || fail 'reset-offsets.sh has not started it again'
until_true 60 'everything applied again' is_through
tripline verify >"$work/verified" || fail "source and destination differ after the reset: $(cat "$work/verified")"
said 'reset: stopped, set back, started again, all rows applied anew'

systemctl stop "$unit"
[ "$(show Result) $(show ExecMainStatus)" = 'success 0' ] || fail "it ended with $(show Result) $(show ExecMainStatus)"
tail -n 1 "$work/log" | grep -q stopped || fail 'it did not drain'
said 'stopped: drained, exit status 0'

# A daemon that halts says why for as long as the unit is failed.
mv "$work/state/$name.json" "$work/$name.json"
sed -i 's/^Restart=.*/Restart=no/' "$HOME/.config/systemd/user/tripline@.service"
systemctl daemon-reload
if systemctl start "$unit" 2>/dev/null; then fail 'it starts without its offset file'; fi
[[ $(show StatusText) == halted:* ]] || fail "its status is $(show StatusText)"
said "halted: status $(show ExecMainStatus), $(show StatusText)"
mv "$work/$name.json" "$work/state/$name.json"
