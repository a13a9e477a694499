#!/usr/bin/env bash
# Gives up a pipeline's position: stops the services, runs `tripline offset reset`, starts them again if asked.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/reset-offsets.sh [options]

Stops the instance's units tripline@, tripline-apply@ and tripline-publish@ (where systemd runs them; elsewhere it refuses while a daemon holds the
offset file's lock), then gives the pipeline's position up with `tripline offset reset`: the next start is a first
one. Lists what it will destroy and asks before it does.

  --instance NAME       instance of the units, tripline-publish@NAME (default: tripline)
  --config FILE         configuration (default: /etc/tripline/NAME.toml with services, else what tripline finds by itself)
  --clear-destination   also clear what was applied to the destination and to ClickHouse
  --clear-topics        also clear the pipeline's topics in Kafka
  --start               start the services again afterwards: those that ran, and those that are enabled
  --dry-run             say what would be done, do nothing
  --yes                 do not ask
  -h, --help            this text

TRIPLINE_BIN names the binary (default: tripline in PATH, else a build of this checkout).
Exit codes: 0 done, 1 not confirmed, 2 failure.
TEXT
}

say() { printf '%s\n' "$*"; }
fail() { printf 'reset-offsets: %s\n' "$*" >&2; exit 2; }

instance=tripline
config='' start='' dry_run='' yes=''
clear=()
while (($#)); do
  case $1 in
    --config) [[ -n ${2-} ]] || fail "--config needs a file"; config=$2; shift ;;
    --config=?*) config=${1#*=} ;;
    --instance) [[ -n ${2-} ]] || fail "--instance needs a name"; instance=$2; shift ;;
    --instance=?*) instance=${1#*=} ;;
    --clear-destination | --clear-topics) clear+=("$1") ;;
    --start) start=1 ;;
    --dry-run) dry_run=1 ;;
    --yes) yes=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "unknown option $1" ;;
  esac
  shift
done

# type -P and not command -v: a function below has the name of the program.
find_binary() {
  local root candidate
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if [[ -n ${TRIPLINE_BIN-} ]]; then
    type -P "$TRIPLINE_BIN" || fail "TRIPLINE_BIN=$TRIPLINE_BIN is not a program"
    return
  fi
  local cache=${XDG_CACHE_HOME:-${HOME-}/.cache}/tripline/target
  for candidate in tripline {"${CARGO_TARGET_DIR:-$cache}","$root/target"}/{release,debug}/tripline; do
    type -P "$candidate" && return
  done
  fail "no tripline in PATH and no build of it here; build it, or name it in TRIPLINE_BIN"
}

readonly units=("tripline@$instance" "tripline-apply@$instance" "tripline-publish@$instance")

# True when a running systemd knows the unit; `show` answers only then.
loaded() { [[ $(systemctl show --property=LoadState --value "$1" 2>/dev/null) == loaded ]]; }
running() { [[ $(systemctl is-active "$1" 2>/dev/null) =~ ^(active|activating|reloading|deactivating)$ ]]; }
enabled() { [[ $(systemctl is-enabled "$1" 2>/dev/null) =~ ^enabled ]]; }
# Of the unit that publishes: all of them have the same user, directory and environment, but drop-ins may differ.
publishing() {
  if running "tripline@$instance" || enabled "tripline@$instance" || ! loaded "tripline-publish@$instance"; then
    echo "tripline@$instance"
  else
    echo "tripline-publish@$instance"
  fi
}
property() { systemctl show --property="$1" --value "$(publishing)"; }

credentials=''
trap '[[ -z $credentials ]] || rm -rf "$credentials"' EXIT
# Takes over the publisher's user, directory and secrets, so that the command sees what the service sees.
as_the_service() {
  local user file line word id
  user=$(property User)
  [[ -z $user || $user == root ]] || run_as=(runuser -u "$user" --)
  for word in $(property Environment); do
    [[ $word == TRIPLINE_* ]] && export "${word?}"
  done
  while read -r file _; do
    [[ -r $file ]] || continue
    while IFS= read -r line; do
      [[ $line =~ ^(TRIPLINE_[A-Za-z0-9_]+)=(.*)$ ]] || continue
      local name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
      [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]] && value=${BASH_REMATCH[1]}
      export "$name=$value"
    done <"$file"
  done < <(property EnvironmentFiles)
  # What systemd would hand over, for as long as this runs. Older ones do not show the property: their files do.
  credentials=$(mktemp -d)
  while IFS=: read -r id file; do
    file=${file//%i/$instance}
    if [[ -r $file ]]; then install -m 0400 ${user:+-o "$user"} "$file" "$credentials/$id"; fi
  done < <(systemctl cat "$(publishing)" | sed -n 's/^LoadCredential=//p')
  if [[ -n $user ]]; then chown "$user" "$credentials"; fi
  export CREDENTIALS_DIRECTORY=$credentials
  [[ -n $config ]] || config=${TRIPLINE_CONFIG:-/etc/tripline/$instance.toml}
  # The service's user need not be able to enter the directory we stand in.
  [[ $config == /* ]] || config=$PWD/$config
  cd /
}

tripline() { "${run_as[@]}" "$binary" ${config:+-c "$config"} "$@"; }

binary=$(find_binary)
binary=$(realpath "$binary")
run_as=()
installed=() active=() to_start=()
for unit in "${units[@]}"; do
  loaded "$unit" || continue
  installed+=("$unit")
  if running "$unit"; then active+=("$unit"); fi
  if running "$unit" || enabled "$unit"; then to_start+=("$unit"); fi
done
if [[ -n $start && ${#to_start[@]} -eq 0 ]]; then
  fail "--start: no service of instance $instance runs or is enabled here"
fi
if [[ ${#installed[@]} -gt 0 ]]; then
  if ((EUID == 0)); then
    as_the_service
  elif [[ -z $dry_run && ${#active[@]} -gt 0 ]]; then
    fail "${active[*]} must be stopped first: run this as root"
  fi
fi

say "This is what will be done:"
for unit in "${active[@]}"; do say "  stop $unit"; done
say "  tripline offset reset${clear[*]:+ ${clear[*]}}, which says:"
plan_status=0
plan=$(tripline offset reset --dry-run "${clear[@]}" 2>&1) || plan_status=$?
printf '%s\n' "$plan" | sed 's/^/    /'
if [[ -n $start ]]; then
  for unit in "${to_start[@]}"; do say "  start $unit"; done
fi
# A failure is final, unless it may be the lock of a service that is still to stop.
if ((plan_status > 1)) && { [[ -n $dry_run ]] || ((${#active[@]} == 0)); }; then
  fail "tripline offset reset refuses; nothing was done"
fi
if [[ -n $dry_run ]]; then exit "$plan_status"; fi

if ((${#active[@]} == 0)); then
  # offset show fails for a damaged file, which is a reason to reset and not to stop.
  position=$(tripline offset show 2>&1) || true
  if grep -q 'by pid [0-9]' <<<"$position"; then
    printf '%s\n' "$position" >&2
    fail "a daemon holds the lock: stop it first"
  fi
fi

if [[ -z $yes ]]; then
  [[ -t 0 ]] || { say "Not confirmed: nobody to ask, and no --yes. Nothing was done."; exit 1; }
  read -r -p "This gives the position up. Type yes to go on: " answer || answer=
  [[ $answer == yes ]] || { say "Nothing was done."; exit 1; }
fi

if ((${#active[@]} > 0)); then
  systemctl stop "${active[@]}" || fail "cannot stop ${active[*]}"
fi
if ! tripline offset reset --yes "${clear[@]}"; then
  if ((${#active[@]} > 0)); then say "Stopped and not started again: ${active[*]}" >&2; fi
  fail "tripline offset reset failed"
fi
if [[ -n $start ]]; then
  systemctl start "${to_start[@]}" || fail "cannot start ${to_start[*]}: see journalctl -u 'tripline*@$instance'"
elif ((${#active[@]} > 0)); then
  say "Stopped and not started again: ${active[*]}"
fi
