# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# Apache Kafka as a plain Java process: one node, KRaft, jars from Maven Central. Sourced by scripts/services.

kafka_version=4.1.0
kafka_dir=$services_dir/kafka
kafka_lib=$kafka_dir/lib
kafka_properties=$kafka_dir/server.properties
kafka_pid_file=$kafka_dir/pid
kafka_start_s_max=90
kafka_stop_s_max=30

kafka_running() { pid_runs "$kafka_pid_file" "$kafka_properties"; }

kafka_log() { printf '%s/server.log\n' "$kafka_dir"; }

# Starts the process and returns at once: PostgreSQL can start meanwhile.
kafka_launch() {
  kafka_running && return 0
  mkdir -p "$kafka_dir"
  kafka_install
  kafka_configure
  [ -f "$kafka_dir/data/meta.properties" ] || kafka_format
  # The shell writes its pid and becomes java; setsid keeps our caller's Ctrl-C away from the server.
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' _ "$kafka_pid_file" \
    "$(java_command)" -Xmx512m -XX:+ExitOnOutOfMemoryError \
    -Dorg.slf4j.simpleLogger.showDateTime=true '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS' \
    -cp "$kafka_lib/*" kafka.Kafka "$kafka_properties" \
    >>"$(kafka_log)" 2>&1 </dev/null 9>&- &
  wait_until 15 kafka_running || kafka_failed "did not start"
}

# The listener opens only once the broker is registered; the topic list is the proof.
kafka_await() {
  wait_until "$kafka_start_s_max" kafka_open_or_dead || kafka_failed "did not open its port in $kafka_start_s_max s"
  kafka_running || kafka_failed "ended while starting"
  kafka_tool topics --list >/dev/null || kafka_failed "opened its port but does not list its topics"
}

kafka_open_or_dead() { port_open "$(port_of kafka)" || ! kafka_running; }

kafka_failed() {
  warn "error: Kafka $1"
  show_tail "$(kafka_log)"
  exit 1
}

kafka_stop() { kafka_end TERM; }

kafka_kill() { kafka_end KILL; }

kafka_end() {
  if kafka_running; then
    kill "-$1" "$(cat "$kafka_pid_file")"
    wait_until "$kafka_stop_s_max" pid_gone "$kafka_pid_file" "$kafka_properties" || {
      warn "Kafka did not stop in $kafka_stop_s_max s: killing it"
      kill -KILL "$(cat "$kafka_pid_file")"
      wait_until 5 pid_gone "$kafka_pid_file" "$kafka_properties"
    }
  fi
  rm -f "$kafka_pid_file"
}

kafka_clean() { rm -rf "$kafka_dir"; }

# kafka_tool NAME ARGUMENT...: one of Kafka's own tools against this broker.
kafka_tool() {
  local class
  case "$1" in
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    configs) class=kafka.admin.ConfigCommand ;;
    console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
    console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    *) die "kafka_tool: no tool '$1'" ;;
  esac
  shift
  kafka_java "$class" --bootstrap-server "$(brokers)" "$@"
}

# Short-lived Java: start fast, say little.
kafka_java() {
  "$(java_command)" -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$kafka_lib/*" "$@"
}

kafka_format() {
  local id output
  # Drawn anew, for a cleaned clone is another cluster: 16 bytes as 22 characters, never a dash first.
  id=L$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)
  output=$(kafka_java kafka.tools.StorageTool format -t "$id" -c "$kafka_properties" 2>&1) || die "cannot format $kafka_dir/data: $output"
}

kafka_configure() {
  local controller_port
  free_port "$kafka_dir/port" 20000
  free_port "$kafka_dir/controller-port" 24000
  controller_port=$(cat "$kafka_dir/controller-port")
  {
    cat "$root/docker/kafka.properties"
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$(brokers),CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://$(brokers)
log.dirs=$kafka_dir/data
PROPERTIES
  } >"$kafka_properties"
}

# Copies the jars into the clone, so that a running server does not depend on a cache that may be emptied.
kafka_install() {
  java_check
  [ -d "$kafka_lib" ] && return 0
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/longshore/kafka-$kafka_version
  [ -d "$cache" ] || kafka_fetch "$cache"
  rm -rf "$kafka_lib.part"
  cp -R "$cache" "$kafka_lib.part"
  mv "$kafka_lib.part" "$kafka_lib"
}

# Fetches beside the cache and renames, so that the cache is complete or absent, whoever else fetches now.
kafka_fetch() {
  local cache=$1 part output
  have mvn || apt_install "Maven, which fetches Kafka" maven
  say "fetching Kafka $kafka_version (44 MB, once)"
  mkdir -p "$(dirname "$cache")"
  part=$(mktemp -d "$cache.XXXXXX")
  output=$(mvn -q -B -f "$root/scripts/kafka/pom.xml" -Dkafka.version="$kafka_version" \
    dependency:copy-dependencies -DoutputDirectory="$part" 2>&1 </dev/null) || {
    rm -rf "$part"
    warn "$output"
    die "Maven could not fetch Kafka's jars"
  }
  chmod 755 "$part"
  mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part"
}

java_command() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then
    printf '%s/bin/java\n' "$JAVA_HOME"
  else
    echo java
  fi
}

java_check() {
  [ "$(java_version)" -lt 17 ] || return 0
  # By number where there is one: on older systems the default is too old for Kafka.
  if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
    apt_install "Java 17, which Kafka runs on" openjdk-17-jre-headless
  else
    apt_install "Java 17, which Kafka runs on" default-jre-headless
  fi
  [ "$(java_version)" -ge 17 ] || die "Kafka $kafka_version needs Java 17 or newer, but '$(java_command)' is $(java_version)"
}

# The major version, 0 where there is none.
java_version() {
  local version
  version=$("$(java_command)" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
  printf '%s\n' "${version:-0}"
}
