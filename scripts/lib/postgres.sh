# shellcheck shell=bash
# Sourced by services.sh: the source and the destination, two clusters of PostgreSQL, of the newest version installed
# or of the one that TRIPLINE_SOURCE_PG and TRIPLINE_DESTINATION_PG name.
# The server refuses root: as root it runs as the packages' user postgres, otherwise as whoever runs the script.

postgres_user=postgres

postgres_packages() { # adds to the caller's list
  local name major
  newest_postgres >/dev/null || {
    packages+=(postgresql)
    keep_debian_from_creating_a_cluster
  }
  command -v psql >/dev/null || packages+=(postgresql-client)
  for name in source destination; do
    major=$(major_of "$name") || exit 1
    [ -z "$major" ] || postgres_version_packages "$major"
  done
}

# The major version of a cluster that is here, which it keeps, or that is asked for; empty: whichever is installed.
major_of() {
  local variable=TRIPLINE_${1^^}_PG wanted created
  wanted=${!variable:-}
  created=$(cat "$(folder_of "$1")/data/PG_VERSION" 2>/dev/null || true)
  [ -z "$created" ] || [ "${wanted:-$created}" = "$created" ] ||
    fail "$(folder_of "$1") is a cluster of PostgreSQL $created, not $wanted: drop the data with $0 down --purge"
  echo "${created:-$wanted}"
}

# Where the programs of a cluster are.
bin_of() {
  local major
  major=$(major_of "$1") || exit 1
  if [ -n "$major" ]; then postgres_bin "$major"; else newest_postgres; fi
}

# The package would start a cluster of its own on 5432.
keep_debian_from_creating_a_cluster() {
  [ ! -d /etc/postgresql-common ] || return 0
  as_root mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/tripline.conf >/dev/null
}

run_as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && exec runuser -u "$postgres_user" -- "$@")
  else
    "$@"
  fi
}

# Where the clusters are: in the services folder, or, when the user postgres cannot reach that (a checkout under /root),
# in a folder of their own, which is recorded in the services folder.
find_postgres_root() {
  postgres_root=$(cat "$services_dir/postgres-root" 2>/dev/null || echo "$services_dir")
}

choose_postgres_root() {
  if [ ! -e "$services_dir/postgres-root" ] && ! run_as_postgres test -x "$services_dir"; then
    postgres_root=/var/lib/tripline-services/$(printf %s "$services_dir" | sha256sum | head -c 12)
    mkdir -p "$postgres_root"
    echo "$postgres_root" >"$services_dir/postgres-root"
    say "the user $postgres_user cannot reach $services_dir: PostgreSQL's data is in $postgres_root"
  fi
}

purge_postgres() {
  rm -rf "$postgres_root/source" "$postgres_root/destination"
  [ "$postgres_root" = "$services_dir" ] || rmdir -p "$postgres_root" 2>/dev/null || true
  rm -f "$services_dir/postgres-root"
}

# Before both at once: they may want the same.
fetch_postgres_versions() {
  local name major
  for name in source destination; do
    major=$(major_of "$name") || exit 1
    [ -z "$major" ] || fetch_postgres "$major"
  done
}

source_install() { :; }
destination_install() { :; }
source_start() { start_postgres source; }
destination_start() { start_postgres destination; }
source_answers() { postgres_answers "$1"; }
destination_answers() { postgres_answers "$1"; }

postgres_answers() {
  [ "$(psql_admin "$1" -tAc 'select 1' 2>/dev/null)" = 1 ]
}

psql_admin() {
  local port=$1
  shift
  PGCONNECT_TIMEOUT=3 psql -X -q -h 127.0.0.1 -p "$port" -U postgres -d postgres -v ON_ERROR_STOP=1 "$@"
}

start_postgres() {
  local name=$1 home bin start=$SECONDS
  home=$(folder_of "$name")
  bin=$(bin_of "$name") || fail "$name: no server programs of PostgreSQL $(major_of "$name") are here"
  if [ ! -d "$home/data" ]; then
    say "$name: creating a cluster with ${bin%/bin}"
    create_cluster "$home" "$bin"
  fi
  postgres_settings "$name" "$home" | run_as_postgres tee "$home/data/tripline.conf" >/dev/null
  # Lock files whose pid is somebody else's by now, as after a reboot, or a dead process that nobody has reaped, would
  # keep the server from starting. Were there a server after all, its shared memory would still keep a second one out.
  rm -f "$home/data/postmaster.pid" "$home"/.s.PGSQL.*
  until (
    close_descriptors
    run_as_postgres "$bin/pg_ctl" -w -s -t "$timeout" -D "$home/data" -l "$home/log" start </dev/null >/dev/null 2>&1
  ); do
    # the backends of a server that was killed may need a moment to notice
    if [ $((SECONDS - start)) -ge 15 ] || ! tail -n 5 "$home/log" | grep -q 'shared memory block.*is still in use'; then
      show_log "$name"
      fail "$name did not start; its log is $home/log"
    fi
    sleep 0.5
  done
}

# Moved into place when complete, so that an interrupted one is started over.
create_cluster() {
  local home=$1 bin=$2
  mkdir -p "$home"
  [ "$(id -u)" != 0 ] || chown "$postgres_user" "$home"
  rm -rf "$home/data.new"
  run_as_postgres "$bin/initdb" -D "$home/data.new" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1 || {
    tail -n 15 "$home/initdb.log" >&2
    fail "initdb failed; its output is in $home/initdb.log"
  }
  echo "include = 'tripline.conf'" | run_as_postgres tee -a "$home/data.new/postgresql.conf" >/dev/null
  mv "$home/data.new" "$home/data"
}

postgres_settings() {
  local sockets=$2
  # a socket's path has at most 107 bytes; without one there is still TCP
  [ ${#sockets} -le 85 ] || sockets=
  cat <<END
# written by scripts/services.sh at every start
listen_addresses = '127.0.0.1'
port = $(port_of "$1")
unix_socket_directories = '$sockets'
cluster_name = 'tripline $1'
max_connections = 200
max_prepared_transactions = 50
shared_buffers = 256MB
max_wal_size = 4GB
fsync = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
END
}

prepare_database() {
  psql_admin "$(port_of "$1")" -o /dev/null -f "$repo/packaging/docker/init-postgres.sql" || fail "$1: could not create the role tripline and the database shop"
}
