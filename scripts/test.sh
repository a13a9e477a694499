#!/usr/bin/env bash
# All checks and tests, as CI runs them. Installs what is missing, starts the services, and prints a summary with times.
#
#   scripts/test.sh            format, lints, unit tests, layers, units, scripts, integration tests on the version of
#                              PostgreSQL that is installed, some of them on the oldest and newest supported; a unit under
#                              systemd, the package in a bare system, and the dashboard's queries, where that is possible
#                              (as root, on Debian, with prometheus); a short benchmark
#   scripts/test.sh --fast     only what needs no services
#   scripts/test.sh --matrix   only the integration tests, all of them on every supported version of PostgreSQL
#
# Goes on after a failure and exits 1 at the end. Services that run already are used and left running; those that it
# started itself it stops again. CARGO_TARGET_DIR (default: tripline/target in the user's cache folder) and the
# variables of scripts/services.sh are respected.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$repo"
# shellcheck source=scripts/lib/deps.sh
source scripts/lib/deps.sh
# shellcheck source=scripts/lib/probes.sh
source scripts/lib/probes.sh
# shellcheck source=scripts/lib/postgres-versions.sh
source scripts/lib/postgres-versions.sh
# shellcheck source=scripts/lib/matrix.sh
source scripts/lib/matrix.sh

only=
case ${1:-} in
  '') ;;
  --fast | --matrix) only=${1#--} ;;
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
  *) fail "unknown option $1; see $0 --help" ;;
esac

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tripline/target}
summary=()
failed=0
started_services=no
log=$(mktemp)

finish() {
  local status=$?
  trap - EXIT INT TERM
  rm -f "$log"
  if [ $started_services = yes ]; then scripts/services.sh down || status=1; fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# step NAME COMMAND…: runs it, notes how it went and how long it took.
step() {
  local name=$1 start=$SECONDS result=passed
  shift
  printf '\n== %s\n' "$name"
  "$@" || { result=FAILED && failed=1; }
  summary+=("$(printf '%-14s %-7s %5d s' "$name" "$result" $((SECONDS - start)))")
}

skip() {
  summary+=("$(printf '%-14s %-7s %s' "$1" skipped "$2")")
}

# optional NAME COMMAND…: a step whose command ends with 3 where it cannot be run; its last line says why.
optional() {
  local name=$1 start=$SECONDS said
  said=$(mktemp)
  shift
  printf '\n== %s\n' "$name"
  case $("$@" 2>&1 | tee "$said" >&2; echo "${PIPESTATUS[0]}") in
    0) summary+=("$(printf '%-14s %-7s %5d s' "$name" passed $((SECONDS - start)))") ;;
    3) skip "$name" "$(tail -n 1 "$said")" ;;
    *) failed=1; summary+=("$(printf '%-14s %-7s %5d s' "$name" FAILED $((SECONDS - start)))") ;;
  esac
  rm -f "$said"
}

tools() {
  need_rust_build
  cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
  command -v rustup >/dev/null || fail 'rustfmt and clippy are missing: install them with the Rust toolchain'
  rustup component add rustfmt clippy
}

# The installed binary's path is not there, so a copy is verified that names a program which is. At most 1.5 of 10 points
# of exposure.
units() {
  local folder unit result=0
  folder=$(mktemp -d)
  for unit in packaging/systemd/*.service; do
    sed 's|^ExecStart=/usr/bin/tripline |ExecStart=/bin/true |; /^Documentation=/d' "$unit" >"$folder/${unit##*/}"
    systemd-analyze verify "${folder}/${unit##*/}" || result=1
    systemd-analyze security --offline=true --threshold=15 --no-pager "$unit" | tail -n 1 || result=1
  done
  # One hardening for all.
  if [ "$(for unit in packaging/systemd/*.service; do sed -n '/^# Nothing but/,$p' "$unit" | md5sum; done | sort -u | wc -l)" != 1 ]; then
    echo 'the units differ in what they may do' && result=1
  fi
  rm -rf "$folder"
  return $result
}

services_up() {
  local state
  # A test puts a transaction pooler in front of the source.
  install_packages 'integration tests' pgbouncer
  if state=$(scripts/services.sh status); then return 0; fi
  grep -qE ' (answers|healthy)$' <<<"$state" || started_services=yes
  scripts/services.sh up
}

integration() {
  eval "$(scripts/services.sh env)"
  cargo test --locked --test it 2>&1 | tee "$log"
}

# The program of the tests, packed by dpkg-deb: building it anew and cargo-deb would take minutes.
package() {
  local folder result=0
  if ((EUID != 0)) || ! command -v dpkg-deb >/dev/null; then echo 'only on Debian, as root' && return 3; fi
  command -v debootstrap >/dev/null || install_packages 'a bare system for the package' debootstrap || return 3
  eval "$(scripts/services.sh env)"
  folder=$(mktemp -d)
  {
    BINARY=$CARGO_TARGET_DIR/debug/tripline scripts/package.sh "$folder" &&
      scripts/test-package.sh "$folder"/*.deb &&
      if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning "$folder"/*.deb; fi
  } || result=1
  rm -rf "$folder"
  return $result
}

under_systemd() {
  eval "$(scripts/services.sh env)"
  scripts/test-systemd.sh
}

dashboard() {
  eval "$(scripts/services.sh env)"
  scripts/dashboard.sh
}

checks() {
  step format cargo fmt --check
  step clippy cargo clippy --all-targets --locked -- -D warnings
  step 'unit tests' cargo test --locked --lib --bins
  step layers scripts/layers.sh
  command -v systemd-analyze >/dev/null || install_packages 'scores of the units' systemd
  step units units
  if command -v "${PROMTOOL:-promtool}" >/dev/null; then
    step 'alert rules' scripts/rules.sh
  else
    skip 'alert rules' 'no promtool here (Debian: package prometheus)'
  fi
  if command -v shellcheck >/dev/null; then
    step shellcheck shellcheck -x .ci/run scripts/*.sh scripts/lib/demo*.sh packaging/deb/*
  else
    skip shellcheck 'not installed'
  fi
}

tools
[ "$only" = matrix ] || checks
case $only in
  fast) skip integration '--fast' ;;
  matrix)
    step services services_up
    step versions versions all
    ;;
  *)
    step services services_up
    step integration integration
    optional systemd under_systemd
    optional package package
    optional dashboard dashboard
    step versions versions quick
    if [ -x scripts/bench.sh ]; then step bench scripts/bench.sh --quick; fi
    ;;
esac

# What failed is far up by now.
if grep -q '^test result: FAILED' "$log"; then
  printf '\n== why integration tests failed\n'
  grep -A 12 ' panicked at ' "$log" || true
fi
printf '\n== summary, %d s\n' $SECONDS
printf '%s\n' "${summary[@]}"
if [ $failed = 0 ]; then echo 'all passed'; else echo 'FAILED' && exit 1; fi
