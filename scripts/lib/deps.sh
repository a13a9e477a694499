# shellcheck shell=bash
# Sourced, not run: installs what the scripts need, and says so. Every function is quiet when nothing is missing.
#
#   say TEXT                    a line of progress, on stderr
#   fail TEXT                   the same, then exit 1
#   install_packages LABEL P…   apt-get install of the packages P that are not installed yet (with sudo when not root)
#   need_rust_build             what `cargo build` needs: C and C++ compilers, cmake, headers, and cargo itself
#   need_cargo                  cargo of at least $cargo_needed, found in PATH or ~/.cargo/bin (which joins PATH);
#                               from rustup where it is missing or too old, else a message that says what to do

cargo_needed=1.91

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "error: $*"
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "not root and no sudo: please run as root: $*"
  fi
}

package_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
  local label=$1 package missing=() log start=$SECONDS
  shift
  for package; do
    command -v dpkg-query >/dev/null && package_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "no apt-get here: please install what corresponds to: ${missing[*]}"
  say "$label: installing ${missing[*]} (apt-get)"
  log=$(mktemp)
  if ! apt_install "${missing[@]}" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    fail "apt-get could not install ${missing[*]}; its whole output is in $log"
  fi
  rm -f "$log"
  say "$label: installed after $((SECONDS - start)) s"
}

# The lists of a bare machine are empty or old, so they are fetched first; an unreachable third-party source is not fatal.
apt_install() {
  as_root apt-get -q -o DPkg::Lock::Timeout=300 update ||
    echo 'apt-get update failed; trying with the lists that are here'
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# True when dotted version $1 is at least $2.
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

cargo_version() {
  cargo --version 2>/dev/null | awk '{ print $2 }'
}

cargo_is_new_enough() {
  local version
  version=$(cargo_version)
  [ -n "$version" ] && version_at_least "$version" "$cargo_needed"
}

# apt knows rustup in newer distributions only.
need_cargo() {
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$PATH:$HOME/.cargo/bin
  cargo_is_new_enough && return
  if ! command -v rustup >/dev/null && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
    install_packages rust rustup
  fi
  if command -v rustup >/dev/null; then
    say "rust: installing the stable toolchain with rustup (cargo here: $(cargo_version || true))"
    rustup toolchain install stable --profile minimal >&2
    export RUSTUP_TOOLCHAIN=stable
    hash -r
    cargo_is_new_enough && return
  fi
  fail "cargo $cargo_needed or newer is needed (found: $(cargo_version || true)). Install Rust with
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
and run this again."
}

need_rust_build() {
  install_packages build cmake g++ make pkg-config libssl-dev zlib1g-dev libcurl4-openssl-dev
  need_cargo
}
