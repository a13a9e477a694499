#!/usr/bin/env bash
# Installs tripline where there is no package for: binary, units, manual pages, completions, user, directories. What is
# configured and the positions stay as they are, so this upgrades as well.
#
#   scripts/install.sh [--binary FILE]     FILE: the program (default: a release build of this checkout)
#   scripts/install.sh --uninstall         takes all of it away but /etc/tripline, /var/lib/tripline and the user
#
# Run as root. DESTDIR puts everything below another root and leaves users and systemd alone.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
root=${DESTDIR:-}
units=(tripline@.service tripline-publish@.service tripline-apply@.service)

say() { printf '%s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 2; }

binary='' uninstall=''
while (($#)); do
  case $1 in
    --binary) [[ -n ${2-} ]] || fail '--binary needs a file'; binary=$2; shift ;;
    --uninstall) uninstall=1 ;;
    -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option $1; see $0 --help" ;;
  esac
  shift
done
[[ -n $root || $EUID == 0 ]] || fail 'run this as root'

# systemd is asked only where it runs, and for this root.
manager() { if [[ -z $root && -d /run/systemd/system ]]; then systemctl "$@"; fi; }

if [[ -n $uninstall ]]; then
  manager stop 'tripline@*.service' 'tripline-publish@*.service' 'tripline-apply@*.service'
  rm -f "$root/usr/bin/tripline" "$root/usr/sbin/tripline-reset-offsets" "$root"/usr/share/man/man1/tripline{,-*}.1 \
    "$root/usr/share/bash-completion/completions/tripline" "$root/usr/share/zsh/vendor-completions/_tripline" \
    "$root/usr/share/fish/vendor_completions.d/tripline.fish"
  for unit in "${units[@]}"; do rm -f "$root/etc/systemd/system/$unit"; done
  rm -rf "$root/usr/share/doc/tripline"
  manager daemon-reload
  say "removed; left as they are: $root/etc/tripline, $root/var/lib/tripline and the user tripline"
  exit 0
fi

binary=${binary:-${CARGO_TARGET_DIR:-$repo/target}/release/tripline}
[[ -x $binary ]] || fail "no program at $binary: cargo build --release --locked, or --binary FILE"

owner=()
if [[ -z $root ]]; then
  getent passwd tripline >/dev/null || useradd --system --user-group --home-dir /var/lib/tripline --no-create-home \
    --shell /usr/sbin/nologin tripline
  owner=(-o tripline -g tripline)
fi
install -d -m 0755 "$root"/usr/{bin,sbin,share/man/man1,share/bash-completion/completions,share/zsh/vendor-completions} \
  "$root"/usr/share/{fish/vendor_completions.d,doc/tripline} "$root/etc/systemd/system"
install -d "${owner[@]}" -m 0700 "$root/var/lib/tripline"
install -d -m 0750 "$root/etc/tripline"
install -m 0755 "$binary" "$root/usr/bin/tripline"
install -m 0755 "$repo/scripts/reset-offsets.sh" "$root/usr/sbin/tripline-reset-offsets"
for unit in "${units[@]}"; do
  install -m 0644 "$repo/packaging/systemd/$unit" "$root/etc/systemd/system/$unit"
done
install -m 0644 "$repo/sql/roles.sql" "$root/usr/share/doc/tripline/roles.sql"
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$binary" generate man "$made"
"$binary" generate completions "$made"
install -m 0644 "$made"/*.1 "$root/usr/share/man/man1/"
install -m 0644 "$made/tripline.bash" "$root/usr/share/bash-completion/completions/tripline"
install -m 0644 "$made/_tripline" "$root/usr/share/zsh/vendor-completions/_tripline"
install -m 0644 "$made/tripline.fish" "$root/usr/share/fish/vendor_completions.d/tripline.fish"
if [[ ! -e $root/etc/tripline/tripline.toml ]]; then
  sed 's|^# dir = "offsets"$|dir = "/var/lib/tripline"|' "$repo/config/tripline.toml" >"$root/etc/tripline/tripline.toml"
fi
chmod 0640 "$root/etc/tripline/tripline.toml"
if [[ -z $root ]]; then chgrp tripline /etc/tripline /etc/tripline/tripline.toml; fi
manager daemon-reload
manager try-restart 'tripline@*.service' 'tripline-publish@*.service' 'tripline-apply@*.service'
say "installed $("$binary" --version); edit $root/etc/tripline/tripline.toml, then: runuser -u tripline -- tripline init"
