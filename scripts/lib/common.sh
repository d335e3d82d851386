# shellcheck shell=bash
# Small things that every script here needs: where things lie, how to speak, how to wait, how to install.
# Sourced, never run.

# The clone that this file belongs to, so that the scripts work from any directory.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# What the servers leave behind: data, logs, ports, pids. One per clone, so clones never meet; a test that
# kills its servers names a directory of its own and has a pair of its own.
services_dir=${LONGSHORE_SERVICES_DIR:-$root/.services}
case "$services_dir" in
  /*) ;;
  *) services_dir=$PWD/$services_dir ;;
esac

say() { printf '%s\n' "$*"; }

warn() { printf '%s\n' "$*" >&2; }

die() {
  warn "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# wait_until SECONDS COMMAND...: true as soon as the command is, false when the time is over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# apt_install WHAT_FOR PACKAGE...: installs on Debian as root; elsewhere says what is missing.
apt_install() {
  local what_for=$1
  shift
  if ! is_root || ! have apt-get; then
    die "missing: $what_for. On Debian or Ubuntu: sudo apt-get install $*"
  fi
  say "installing $what_for: $*"
  apt_get update
  apt_get install --no-install-recommends "$@"
}

# Waits for another apt-get instead of failing, asks nothing, and is quiet unless it fails.
apt_get() {
  local output
  output=$(DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" 2>&1 </dev/null) || {
    warn "$output"
    die "apt-get $1 failed"
  }
}

# pid_runs PIDFILE ARGUMENT: whether the recorded process is alive and still the one we started.
# Pids come round again: the process must carry the argument that only ours has. /proc and not ps,
# which small images lack; a dead process that nobody has waited for has no arguments.
pid_runs() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && grep -Fxqz -- "$2" "/proc/$pid/cmdline" 2>/dev/null
}

pid_gone() { ! pid_runs "$@"; }

pids_gone() {
  local pid
  for pid in "$@"; do
    ! grep -qz . "/proc/$pid/cmdline" 2>/dev/null || return 1
  done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

port_of() { cat "$services_dir/$1/port"; }

# address_of SERVICE: where clients find it.
address_of() {
  case "$1" in
    postgres) printf '127.0.0.1:%s\n' "$(port_of postgres)" ;;
    kafka) brokers ;;
    *) printf '127.0.0.1:%s\n' "$(cat "$(kafka_home "${1#kafka.}")/port")" ;;
  esac
}

# All of them, separated by commas.
brokers() {
  local node
  for node in $(kafka_nodes kafka); do
    printf '127.0.0.1:%s\n' "$(cat "$(kafka_home "$node")/port")"
  done | paste -s -d ,
}

database_url() { printf 'postgres://longshore@127.0.0.1:%s/postgres\n' "$(port_of postgres)"; }

# free_port FILE FROM: keeps the recorded port while nobody else has taken it, else records a new one
# of the 4000 after FROM. Each use has a range of its own, so that two that choose at once cannot meet,
# and all lie below 32768, where the kernel takes ports for outgoing connections.
free_port() {
  local file=$1 from=$2 port
  port=$(cat "$file" 2>/dev/null) || port=
  while [ -z "$port" ] || port_open "$port"; do
    port=$((from + RANDOM % 4000))
    ! port_recorded "$port" || port=
  done
  printf '%s\n' "$port" >"$file"
}

# Whether another server of ours has chosen it, and has not opened it yet.
port_recorded() { grep -rqx --include=port --include='*-port' "$1" "$services_dir" 2>/dev/null; }

# show_tail FILE: the end of a server's log, for an error that has just been said. A server that gives
# up takes leave at length, so the first errors of that end come before it.
show_tail() {
  [ -s "$1" ] || return 0
  warn "--- errors near the end of $1"
  tail -n 500 "$1" | grep -E 'ERROR|FATAL|Exception:' | head -n 5 >&2 || true
  warn "--- its last lines"
  tail -n 15 "$1" >&2
}
