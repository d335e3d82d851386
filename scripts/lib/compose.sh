# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# The same two servers in containers, from docker/compose.yml, where a Docker engine runs. Sourced by scripts/services.

compose_wait_s_max=180

# One project per directory of state, so that clones do not share containers or volumes.
compose() {
  local project
  project=longshore-$(printf '%s' "$services_dir" | cksum | cut -d ' ' -f 1)
  KAFKA_PORT=$(port_of kafka) POSTGRES_PORT=$(port_of postgres) \
    docker compose -f "$root/docker/compose.yml" -p "$project" "$@"
}

# An engine that answers, the compose plugin, and the images: a machine may have the first without the last.
compose_usable() {
  timeout 20 docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 || return 1
  compose_ports
  compose pull --quiet --policy missing kafka postgres >&2
}

# Chosen once: a port that our own container holds is taken, and right.
compose_ports() {
  mkdir -p "$services_dir/kafka" "$services_dir/postgres"
  [ -s "$services_dir/kafka/port" ] || free_port "$services_dir/kafka/port" 20000
  [ -s "$services_dir/postgres/port" ] || free_port "$services_dir/postgres/port" 28000
}

compose_start() {
  compose_ports
  compose up --detach --wait --wait-timeout "$compose_wait_s_max" "$@" >&2 || {
    compose logs --tail 30 "$@" >&2 || true
    die "docker compose could not start: $* (LONGSHORE_SERVICES=native goes without containers)"
  }
}

compose_stop() { compose stop "$@" >&2; }

compose_kill() { compose kill --signal KILL "$@" >&2; }

compose_clean() { compose down --volumes >&2; }

compose_running() { [ -n "$(compose ps --quiet --status running "$1" 2>/dev/null)" ]; }

compose_where() { printf 'container %s\n' "$(compose ps --quiet "$1" | cut -c 1-12)"; }

compose_tool() {
  local tool=$1
  shift
  compose exec -T kafka "/opt/kafka/bin/kafka-$tool.sh" --bootstrap-server localhost:19092 "$@"
}
