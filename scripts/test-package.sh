#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in a bare system of its own (debootstrap), and looks at what it
# leaves. There is no running systemd in there: that units start and restart is not shown by this.
#
#   scripts/test-package.sh PACKAGE [ROOT]     ROOT: a bare Debian to work in (default: one is made, and removed; what
#                                              debootstrap made is kept in the user's cache folder)
#
# With the services' addresses in the environment (eval "$(scripts/services.sh env)") what was installed is also used: as
# user tripline it captures a table, publishes its rows, and takes all of that away again.
# Run as root; making ROOT needs debootstrap and a Debian mirror (DEBIAN_MIRROR; default: the one that apt uses here).
set -euo pipefail

case ${1:-} in
  '' | -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
esac
package=$(realpath "$1")
root=${2:-}
fail() { printf 'test-package: %s\n' "$*" >&2; exit 1; }
said() { printf 'ok: %s\n' "$*"; }

own='' database='' daemon=''
finish() {
  if [ -n "$daemon" ]; then kill -KILL "$daemon" 2>/dev/null || true; fi
  if [ -n "$database" ]; then psql -qX -c "drop database if exists $database with (force)" "$TRIPLINE_TEST_SOURCE_URL"; fi
  if [ -n "$own" ]; then rm -rf --one-file-system "$own" "$own.log"; fi
}
trap finish EXIT

if [ -z "$root" ]; then
  root=$(mktemp -d)
  own=$root
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/tripline/bookworm.tar
  if [ ! -e "$cache" ]; then
    # shellcheck disable=SC2016 # apt-get fills it in
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/*$' || true)}
    debootstrap --variant=minbase --include=adduser,systemd,libssl3,zlib1g,ca-certificates bookworm "$root" \
      "${mirror:-http://deb.debian.org/debian}" >"$root.log" 2>&1 || { tail "$root.log" >&2; fail 'debootstrap failed'; }
    mkdir -p "${cache%/*}"
    # The packages that it downloaded are installed by now.
    tar -C "$root" --exclude=./var/cache/apt/archives -cf "$cache.$$" . && mv "$cache.$$" "$cache"
  else
    tar -C "$root" -xf "$cache"
  fi
  # A folder of mktemp is for its owner alone.
  chmod 755 "$root"
fi

# Nothing of the outside but the processor.
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
# is PATH MODE OWNER GROUP
is() {
  local found
  found=$(inside stat -c '%a %U %G' "$1") || fail "$1 is not there"
  [ "$found" = "$2 $3 $4" ] || fail "$1 is $found and not $2 $3 $4"
}
gone() { [ ! -e "$root/$1" ] || fail "$1 is still there"; }

cp "$package" "$root/tmp/first.deb"
# The same with a higher version, to upgrade to.
work=$(mktemp -d)
dpkg-deb --raw-extract "$package" "$work/deb"
sed -i 's/^Version: .*/Version: 99.0.0-1/' "$work/deb/DEBIAN/control"
echo '# a new example' >>"$work/deb/etc/tripline/tripline.toml"
dpkg-deb --root-owner-group --build "$work/deb" "$root/tmp/second.deb" >/dev/null
rm -rf "$work"

inside dpkg -i /tmp/first.deb >/dev/null
inside tripline --version
[[ $(inside getent passwd tripline) == *:/var/lib/tripline:/usr/sbin/nologin ]] || fail 'the user is not as it should be'
is /usr/bin/tripline 755 root root
is /usr/sbin/tripline-reset-offsets 755 root root
is /etc/tripline 750 root tripline
is /etc/tripline/tripline.toml 640 root tripline
is /var/lib/tripline 700 tripline tripline
for unit in tripline@ tripline-publish@ tripline-apply@; do is "/lib/systemd/system/$unit.service" 644 root root; done
is /usr/share/man/man1/tripline.1.gz 644 root root
is /usr/share/man/man8/tripline-reset-offsets.8.gz 644 root root
is /usr/share/bash-completion/completions/tripline 644 root root
shown=$(inside runuser -u tripline -- tripline offset show) || fail "the example cannot be used: $shown"
[[ $shown == *'in /var/lib/tripline'* ]] || fail "the example is not used: $shown"
if inside runuser -u nobody -- cat /etc/tripline/tripline.toml 2>/dev/null; then fail 'everybody may read the configuration'; fi
# A bare system has no man to look the page up with.
inside systemd-analyze verify /lib/systemd/system/tripline{,-publish,-apply}@.service >"$root/tmp/verify" 2>&1 || true
if grep -i tripline "$root/tmp/verify" | grep -v "'man tripline(1)'"; then fail 'a unit is not right'; fi
for enabled in tripline-publish@shop tripline-apply@; do inside systemctl enable --quiet "$enabled.service"; done
[ -L "$root/etc/systemd/system/multi-user.target.wants/tripline-apply@tripline.service" ] || fail 'no default instance'
said 'installed: program, user, modes, units, completions, manual pages'

# In there, as the user of the units; every program becomes the next one, so that all have one process id.
tripline() {
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" setpriv --reuid tripline --regid tripline --init-groups \
    tripline -c /etc/tripline/used.toml "$@"
}
use() {
  local name=package_$$ url
  database=$name
  url=${TRIPLINE_TEST_SOURCE_URL%/*}/$name
  psql -qX -c "create database $name" "$TRIPLINE_TEST_SOURCE_URL"
  psql -qX -c 'create table t (id int primary key); insert into t select generate_series(1, 1000)' "$url"
  sed "s|^pipeline = .*|pipeline = \"$name\"|; s|^url = \"postgresql://tripline@127.0.0.1:5435/shop\"|url = \"$url\"|
    s|^tables = .*|tables = [\"public.*\"]|; s|^bootstrap_servers = .*|bootstrap_servers = \"$TRIPLINE_TEST_KAFKA\"|; /^\[destination\]/,/^# How changes are applied/d
    /^\[clickhouse\]/,/^# How changes are mirrored/d" "$root/etc/tripline/tripline.toml" >"$root/etc/tripline/used.toml"
  chmod 644 "$root/etc/tripline/used.toml"
  (tripline init) >/dev/null
  tripline publish 2>"$root/tmp/publish" &
  daemon=$!
  timeout 60 bash -c "until grep -q 'INFO ready' '$root/tmp/publish'; do sleep 0.2; done" || { cat "$root/tmp/publish" >&2; fail 'it is not ready'; }
  (tripline snapshot --wait) >"$root/tmp/snapshot"
  grep -q 'done, 1000 rows' "$root/tmp/snapshot" || fail 'its rows are not published'
  (tripline check) || fail 'check finds something'
  kill -TERM $daemon
  wait $daemon || fail 'it did not end as it should'
  daemon=
  is "/var/lib/tripline/$name.json" 600 tripline tripline
  (tripline uninstall --all --yes) >"$root/tmp/uninstall"
  tail -n 1 "$root/tmp/uninstall"
  if find "$root/var/lib/tripline" -mindepth 1 | grep .; then fail 'files are left of what was used'; fi
  rm "$root/etc/tripline/used.toml"
}
if [ -n "${TRIPLINE_TEST_SOURCE_URL:-}" ]; then use; said 'used: init, publish, snapshot, check, uninstall --all as user tripline'; fi

echo '{}' >"$root/var/lib/tripline/shop.json"
sed -i 's/^pipeline = .*/pipeline = "mine"/' "$root/etc/tripline/tripline.toml"
echo 'pipeline = "other"' >"$root/etc/tripline/other.toml"
inside dpkg --force-confold -i /tmp/second.deb >/dev/null 2>&1
grep -q '^pipeline = "mine"' "$root/etc/tripline/tripline.toml" || fail 'the configuration was replaced'
is /etc/tripline/tripline.toml 640 root tripline
[ -e "$root/var/lib/tripline/shop.json" ] || fail 'the position is gone'
said 'upgraded: configuration, rights and positions are as they were'

inside dpkg --remove tripline >/dev/null
gone usr/bin/tripline
gone lib/systemd/system/tripline@.service
for kept in var/lib/tripline/shop.json etc/tripline/tripline.toml etc/tripline/other.toml; do
  [ -e "$root/$kept" ] || fail "$kept is gone"
done
inside getent passwd tripline >/dev/null || fail 'the user is gone, and its files are not'
said 'removed: positions, configuration and user stay'

inside dpkg --force-confold -i /tmp/first.deb >/dev/null 2>&1
[ -e "$root/var/lib/tripline/shop.json" ] || fail 'the position is gone'
inside dpkg --purge tripline >/dev/null
gone var/lib/tripline
gone etc/tripline/tripline.toml
[ -e "$root/etc/tripline/other.toml" ] || fail 'a configuration that is not the package'"'"'s is gone'
if inside getent passwd tripline >/dev/null; then fail 'the user is still there'; fi
if find "$root/etc/systemd/system" -name 'tripline*' | grep .; then fail 'links to units are left'; fi
if inside dpkg -s tripline >/dev/null 2>&1; then fail 'dpkg still knows it'; fi
said 'purged: nothing is left but the configuration of an instance that somebody added'
