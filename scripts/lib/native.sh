# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# The two servers as plain processes of this machine. Sourced by scripts/services.

# Java needs seconds to come up: PostgreSQL starts meanwhile.
native_start() {
  local service
  for service in "$@"; do
    [ "$service" != kafka ] || kafka_launch
  done
  for service in "$@"; do
    [ "$service" != postgres ] || postgres_start
  done
  for service in "$@"; do
    [ "$service" != kafka ] || kafka_await
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
    "${service}_$verb"
  done
}

native_running() { "$1_running"; }

native_where() { printf 'pid %s, log %s\n' "$(cat "$services_dir/$1/pid")" "$("$1_log")"; }

native_tool() { kafka_tool "$@"; }
