# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# PostgreSQL from the system's packages, as a server of our own on a port of its own. Sourced by scripts/services.
# Never touches a cluster that the system runs.

postgres_dir=$services_dir/postgres
postgres_pid_file=$postgres_dir/pid
postgres_start_s_max=60
postgres_stop_s_max=30

postgres_running() { [ -s "$postgres_dir/home" ] && pid_runs "$postgres_pid_file" "$(postgres_home)/data"; }

# Where data and log lie. The server refuses to run as root, and the user it runs as instead may not
# be able to enter the clone: then a directory outside, whose name is recorded.
postgres_home() { cat "$postgres_dir/home"; }

postgres_log() { printf '%s/server.log\n' "$(postgres_home)"; }

postgres_start() {
  postgres_running && return 0
  mkdir -p "$postgres_dir"
  postgres_find
  postgres_make_home
  [ -f "$(postgres_home)/data/PG_VERSION" ] || postgres_init
  postgres_configure
  postgres_forget_dead
  postgres_as_user "$(postgres_bin pg_ctl)" -D "$(postgres_home)/data" -l "$(postgres_log)" -s -w -t "$postgres_start_s_max" start \
    >/dev/null 2>&1 </dev/null 9>&- || postgres_failed "did not start"
  head -n 1 "$(postgres_home)/data/postmaster.pid" >"$postgres_pid_file"
  postgres_answers || postgres_failed "started but does not answer"
}

# A killed server that its parent has not waited for yet still has a pid, and PostgreSQL takes that for
# a running one. In a container without an init nobody ever waits.
postgres_forget_dead() {
  local lock pid
  lock=$(postgres_home)/data/postmaster.pid
  [ -s "$lock" ] || return 0
  pid=$(head -n 1 "$lock")
  pids_gone "$pid" || return 0
  wait_until 5 pid_unknown "$pid" || rm -f "$lock"
}

pid_unknown() { ! kill -0 "$1" 2>/dev/null; }

postgres_answers() {
  "$(postgres_bin psql)" -X -q -A -t -w -c 'select 1' "$(database_url)" >/dev/null
}

postgres_failed() {
  warn "error: PostgreSQL $1"
  show_tail "$(postgres_log)"
  exit 1
}

postgres_stop() {
  if postgres_running; then
    postgres_find
    postgres_as_user "$(postgres_bin pg_ctl)" -D "$(postgres_home)/data" -s -w -t "$postgres_stop_s_max" -m fast stop </dev/null || {
      warn "PostgreSQL did not stop in $postgres_stop_s_max s: killing it"
      postgres_kill
    }
  fi
  rm -f "$postgres_pid_file"
}

# As a power cut would: the server and all its processes, which else might finish what they are at.
postgres_kill() {
  if postgres_running; then
    local pid pids
    pid=$(cat "$postgres_pid_file")
    read -r -a pids <"/proc/$pid/task/$pid/children" || true
    kill -KILL "$pid" ${pids[@]+"${pids[@]}"} 2>/dev/null || true
    # A start finds the shared memory in use until the last of them is gone.
    wait_until 10 pids_gone "$pid" ${pids[@]+"${pids[@]}"} || die "PostgreSQL's processes outlive kill -9"
  fi
  rm -f "$postgres_pid_file"
}

postgres_clean() {
  local home
  if [ -s "$postgres_dir/home" ]; then
    home=$(postgres_home)
    case "$home" in
      /var/tmp/longshore-postgres.* | "$postgres_dir"/*) rm -rf "$home" ;;
      *) die "$postgres_dir/home names a directory that is not ours: $home" ;;
    esac
  fi
  rm -rf "$postgres_dir"
}

postgres_make_home() {
  [ ! -s "$postgres_dir/home" ] || [ ! -d "$(postgres_home)" ] || return 0
  local home=$postgres_dir/server
  if is_root; then
    home=$(mktemp -d /var/tmp/longshore-postgres.XXXXXX)
    chown "$(postgres_user)" "$home"
  else
    mkdir -p "$home"
  fi
  printf '%s\n' "$home" >"$postgres_dir/home"
}

postgres_init() {
  local output
  # The C locale is everywhere, and an order of text that is the same everywhere.
  output=$(postgres_as_user "$(postgres_bin initdb)" -D "$(postgres_home)/data" -U longshore -A trust -E UTF8 --no-locale 2>&1 </dev/null) ||
    die "initdb failed: $output"
}

# Written at each start, because the port may have changed.
postgres_configure() {
  local conf
  conf=$(postgres_home)/data/longshore.conf
  free_port "$postgres_dir/port" 28000
  cat >"$conf" <<CONF
listen_addresses = '127.0.0.1'
port = $(port_of postgres)
unix_socket_directories = ''
max_connections = 200
fsync = on
max_wal_size = '2GB'
log_line_prefix = '%m [%p] %a '
log_lock_waits = on
CONF
  chmod 644 "$conf"
  grep -q '^include = ' "$(postgres_home)/data/postgresql.conf" ||
    printf "include = 'longshore.conf'\n" >>"$(postgres_home)/data/postgresql.conf"
}

postgres_bin() { printf '%s/%s\n' "$postgres_bin_dir" "$1"; }

# Debian keeps each major version's programs out of the PATH.
postgres_find() {
  postgres_bin_dir=$(postgres_find_bin_dir)
  [ -z "$postgres_bin_dir" ] || return 0
  apt_install "the PostgreSQL server" postgresql
  postgres_bin_dir=$(postgres_find_bin_dir)
  [ -n "$postgres_bin_dir" ] || die "initdb is not found, though postgresql was installed"
}

postgres_find_bin_dir() {
  local initdb
  initdb=$(find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -n 1) || true
  [ -n "$initdb" ] || initdb=$(command -v initdb) || return 0
  dirname "$initdb"
}

postgres_user() { if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }

# From the server's own directory: the caller's may be one that its user cannot enter.
postgres_as_user() {
  (
    cd "$(postgres_home)" || exit 1
    if is_root; then
      exec setpriv --reuid="$(postgres_user)" --regid="$(id -g "$(postgres_user)")" --clear-groups -- "$@"
    fi
    exec "$@"
  )
}
