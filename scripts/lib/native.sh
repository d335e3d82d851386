# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# The servers as plain processes of this machine. Sourced by scripts/services. A name is `kafka`, `kafka.2`
# or `postgres`; what stands before its dot says whose functions do the work.

# Java needs seconds to come up: PostgreSQL starts meanwhile.
native_start() {
  local service
  for service in "$@"; do
    [ "${service%%.*}" != kafka ] || kafka_launch "$service"
  done
  for service in "$@"; do
    [ "$service" != postgres ] || postgres_start
  done
  for service in "$@"; do
    [ "${service%%.*}" != kafka ] || kafka_await "$service"
  done
}

native_stop() { native_each stop "$@"; }

native_kill() { native_each kill "$@"; }

native_clean() {
  native_each stop kafka postgres
  native_each clean kafka postgres
}

native_each() {
  local verb=$1 service
  shift
  for service in "$@"; do
    "${service%%.*}_$verb" "$service"
  done
}

native_running() { "${1%%.*}_running" "$1"; }

native_where() {
  local pids log
  case "$1" in
    postgres)
      pids=$(cat "$services_dir/postgres/pid")
      log=$(postgres_log)
      ;;
    *)
      pids=$(for node in $(kafka_nodes "$1"); do cat "$(kafka_home "$node")/pid"; done | paste -s -d ' ')
      log=$(kafka_log "$(kafka_nodes "$1" | head -n 1)")
      ;;
  esac
  printf 'pid %s, log %s\n' "$pids" "$log"
}

native_tool() { kafka_tool "$@"; }
