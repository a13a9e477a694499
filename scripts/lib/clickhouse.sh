# shellcheck shell=bash
# Sourced by services.sh: ClickHouse over HTTP. A clickhouse server that is installed and new enough, else the same
# engine from its Python package behind scripts/clickhouse-http.py.

clickhouse_needed=24
clickhouse_engine=chdb-core==26.9.0
clickhouse_venv=$cache/clickhouse-${clickhouse_engine#*==}

clickhouse_packages() { # adds to the caller's list
  clickhouse_installed || python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
}

clickhouse_binary() {
  local binary version
  for binary in clickhouse clickhouse-server; do
    version=$("$binary" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+' | head -n 1) || continue
    [ "${version%%.*}" -ge "$clickhouse_needed" ] || continue
    command -v "$binary"
    return
  done
}

clickhouse_installed() {
  [ -n "$(clickhouse_binary)" ] || "$clickhouse_venv/bin/python" -c '' 2>/dev/null
}

clickhouse_install() {
  local work
  clickhouse_installed && return
  # what is there was made with a Python that is gone
  rm -rf "$clickhouse_venv"
  say "clickhouse: fetching the engine with pip ($clickhouse_engine, 565 MB installed)"
  work=$clickhouse_venv.new-$$
  # --no-deps: the engine needs neither pandas nor pyarrow
  { python3 -m venv "$work" && "$work/bin/pip" install --no-deps "$clickhouse_engine" lz4==4.4.5; } >"$cache/pip.log" 2>&1 || {
    tail -n 15 "$cache/pip.log" >&2
    rm -rf "$work"
    fail "clickhouse: pip could not install $clickhouse_engine; its output is in $cache/pip.log"
  }
  # moved when complete (only python itself is run from it later); somebody else's copy, fetched meanwhile, is as good
  mv -T "$work" "$clickhouse_venv" 2>/dev/null || rm -rf "$work"
  clickhouse_installed
}

clickhouse_start() {
  local home=$services_dir/clickhouse binary
  mkdir -p "$home"
  binary=$(clickhouse_binary)
  if [ -n "$binary" ]; then
    say "clickhouse: using $binary"
    write_clickhouse_config "$home"
    [[ $binary == *-server ]] || set -- server
    start_detached "$home/pid" "$home/log" "$binary" "$@" --config-file="$home/config.xml"
  else
    start_detached "$home/pid" "$home/log" "$clickhouse_venv/bin/python" "$repo/scripts/clickhouse-http.py" \
      --faults --port "$TRIPLINE_CLICKHOUSE_PORT" --path "$home/data"
  fi
}

write_clickhouse_config() {
  cat >"$1/config.xml" <<END
<!-- written by scripts/services.sh at every start -->
<clickhouse>
  <logger><level>warning</level><console>true</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>$TRIPLINE_CLICKHOUSE_PORT</http_port>
  <path>$1/data/</path>
  <tmp_path>$1/data/tmp/</tmp_path>
  <user_files_path>$1/data/user_files/</user_files_path>
  <mark_cache_size>268435456</mark_cache_size>
  <user_directories><users_xml><path>$1/users.xml</path></users_xml></user_directories>
</clickhouse>
END
  cat >"$1/users.xml" <<END
<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
</clickhouse>
END
}
