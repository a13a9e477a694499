# shellcheck shell=bash
# Sourced by services.sh: the services as containers of docker-compose.yml.

compose() {
  local project=tripline
  # a second set of services is a project of its own
  [ -z "${TRIPLINE_SERVICES_DIR:-}" ] || project=tripline-$(printf %s "$services_dir" | sha256sum | head -c 12)
  docker compose -p "$project" -f "$repo/docker-compose.yml" "$@"
}

docker_any_running() {
  [ -n "$(compose ps -q 2>/dev/null)" ]
}

docker_up() {
  local start=$SECONDS
  [ -z "${TRIPLINE_SOURCE_PG:-}${TRIPLINE_DESTINATION_PG:-}" ] ||
    fail 'TRIPLINE_SOURCE_PG and TRIPLINE_DESTINATION_PG need TRIPLINE_SERVICES=native; with Docker TRIPLINE_POSTGRES_IMAGE names the image'
  say 'services in Docker (docker-compose.yml)'
  compose up -d --wait --wait-timeout $((timeout * 3)) "${services[@]}" >&2 || fail "not up: $(unhealthy)"
  # its health check knows no more than that the port is open
  until kafka_answers "$TRIPLINE_KAFKA_PORT"; do
    [ $((SECONDS - start)) -lt $((timeout * 3)) ] || fail "kafka does not answer on port $TRIPLINE_KAFKA_PORT"
    sleep 0.2
  done
  say "all services answer after $((SECONDS - start)) s; their addresses: eval \"\$($0 env)\""
}

unhealthy() {
  local name
  for name in "${services[@]}"; do
    [ "$(health_of "$name")" = healthy ] && continue
    echo "$name ($(health_of "$name"))"
    compose logs --no-log-prefix --tail 15 "$name" | sed "s/^/$name | /" >&2
  done
}

health_of() {
  local health
  health=$(compose ps --format '{{.Health}}' "$1" 2>/dev/null || true)
  echo "${health:-down}"
}

docker_status() {
  local name health result=0
  for name in "${services[@]}"; do
    health=$(health_of "$name")
    [ "$health" = healthy ] || result=1
    printf '%-12s port %-6s %s\n' "$name" "$(port_of "$name")" "$health"
  done
  return $result
}

docker_down() {
  if [ "$1" = yes ]; then
    compose down --volumes >&2
  else
    compose down >&2
  fi
}
