# shellcheck shell=bash
# What the measuring scripts share. Sourced at the top of the checkout, which `repo` names.

# measure PROGRAM ARGUMENTS…: runs scripts/bench/PROGRAM on a release build, unless one is given, between the services.
# With --help it prints the comment at the top of the script that called.
measure() {
  local program=$1
  shift
  case " $* " in
    *' --help '* | *' -h '*)
      sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$repo/scripts/${0##*/}"
      exit 0
      ;;
    *' --binary '*) ;;
    *)
      cargo build --release --locked --quiet
      cargo build --release --locked --quiet --example bench-kafka
      set -- --binary "${CARGO_TARGET_DIR:-$PWD/target}/release/tripline" "$@"
      ;;
  esac
  scripts/services.sh status >/dev/null 2>&1 || scripts/services.sh up
  eval "$(scripts/services.sh env)"
  # PYTHONDONTWRITEBYTECODE: no __pycache__ in the checkout.
  PYTHONDONTWRITEBYTECODE=1 exec python3 "scripts/bench/$program" "$@"
}
