#!/usr/bin/env bash
# Builds the Debian package; prints its path.
#
#   scripts/package.sh [FOLDER]     FOLDER: where the package goes (default: dist)
#
# PROFILE names cargo's profile (default: release). Needs cargo-deb (`cargo install cargo-deb --locked`).
# With BINARY nothing is built: that program is packed, by dpkg-deb alone and with the same list of files. For tests, where
# building cargo-deb would take longer than everything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" && exit 0 ;;
esac
folder=$(realpath -m "${1:-dist}")
profile=${PROFILE:-release}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
binary=${BINARY:-$CARGO_TARGET_DIR/${profile/#dev/debug}/tripline}

if [ -z "${BINARY:-}" ]; then
  command -v cargo-deb >/dev/null || { echo 'package: cargo-deb is missing: cargo install cargo-deb --locked' >&2; exit 2; }
  # An ordinary build: that of the tests has failpoints.
  cargo build --locked --profile "$profile" --bin tripline >&2
fi

# What the package holds beside the binary and files of the checkout; [package.metadata.deb] names it.
made=target/package
rm -rf "$made"
mkdir -p "$made/man" "$made/completions" "$folder"
"$binary" generate man "$made/man"
cp packaging/doc/*.8 "$made/man"
gzip -9n "$made"/man/*
"$binary" generate completions "$made/completions"
# The offset files belong where the units keep them.
sed 's|^# dir = "offsets"$|dir = "/var/lib/tripline"|' config/tripline.toml >"$made/tripline.toml"
grep -q '^dir = "/var/lib/tripline"$' "$made/tripline.toml"

if [ -n "${BINARY:-}" ]; then
  python3 scripts/lib/pack.py "$binary" "$folder"
else
  cargo deb --locked --no-build --profile "$profile" --output "$folder"
fi
