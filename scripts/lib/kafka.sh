# shellcheck shell=bash disable=SC2154  # root and services_dir are common.sh's
# Apache Kafka as plain Java processes, KRaft, jars from Maven Central: one broker, or several that are
# controllers, too. Sourced by scripts/services.

kafka_version=4.1.0
kafka_dir=$services_dir/kafka
kafka_lib=$kafka_dir/lib
kafka_start_s_max=90
kafka_stop_s_max=30

# How many brokers there are: decided at the first start, kept until clean.
kafka_count() { cat "$kafka_dir/brokers" 2>/dev/null || echo 1; }

# kafka_nodes SERVICE: the brokers that a name means, all for `kafka`, the second for `kafka.2`.
kafka_nodes() {
  case "$1" in
    kafka) seq "$(kafka_count)" ;;
    *)
      [ "${1#kafka.}" -le "$(kafka_count)" ] || die "there is no $1: LONGSHORE_SERVICES_BROKERS was $(kafka_count) at the first start"
      printf '%s\n' "${1#kafka.}"
      ;;
  esac
}

# Where a broker's files are. The first one's lie where those of a single one do.
kafka_home() { if [ "$1" = 1 ]; then echo "$kafka_dir"; else printf '%s/%s\n' "$kafka_dir" "$1"; fi; }

kafka_node_running() { pid_runs "$(kafka_home "$1")/pid" "$(kafka_home "$1")/server.properties"; }

kafka_running() {
  local node
  for node in $(kafka_nodes "$1"); do
    kafka_node_running "$node" || return 1
  done
}

kafka_log() { printf '%s/server.log\n' "$(kafka_home "$1")"; }

# Starts the processes and returns at once: PostgreSQL can start meanwhile.
kafka_launch() {
  local node
  kafka_running "$1" && return 0
  mkdir -p "$kafka_dir"
  [ -s "$kafka_dir/brokers" ] || printf '%s\n' "${LONGSHORE_SERVICES_BROKERS:-1}" >"$kafka_dir/brokers"
  kafka_install
  # All of them first: each broker's configuration names the others.
  for node in $(kafka_nodes kafka); do
    kafka_node_running "$node" || kafka_choose_ports "$node"
  done
  for node in $(kafka_nodes "$1"); do
    kafka_node_running "$node" || kafka_launch_node "$node"
  done
}

kafka_launch_node() {
  local home
  home=$(kafka_home "$1")
  kafka_configure "$1" >"$home/server.properties"
  [ -f "$home/data/meta.properties" ] || kafka_format "$home"
  # The shell writes its pid and becomes java; setsid keeps our caller's Ctrl-C away from the server.
  # Collected as Kafka's own start script has it: without, each pause shows in every latency.
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c 'echo $$ >"$1"; shift; exec "$@"' _ "$home/pid" \
    "$(java_command)" -Xmx512m -XX:+ExitOnOutOfMemoryError \
    -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 \
    -Dorg.slf4j.simpleLogger.showDateTime=true '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS' \
    -cp "$kafka_lib/*" kafka.Kafka "$home/server.properties" \
    >>"$(kafka_log "$1")" 2>&1 </dev/null 9>&- &
  wait_until 15 kafka_node_running "$1" || kafka_failed "$1" "did not start"
}

# The listener opens only once the broker is registered; the topic list is the proof.
kafka_await() {
  local node
  for node in $(kafka_nodes "$1"); do
    wait_until "$kafka_start_s_max" kafka_open_or_dead "$node" ||
      kafka_failed "$node" "did not open its port in $kafka_start_s_max s"
    kafka_node_running "$node" || kafka_failed "$node" "ended while starting"
  done
  # One of several is known by its port: the others answer for the topics.
  [ "$1" = kafka ] || return 0
  kafka_tool topics --list >/dev/null || kafka_failed 1 "opened its port but does not list its topics"
}

kafka_open_or_dead() { port_open "$(cat "$(kafka_home "$1")/port")" || ! kafka_node_running "$1"; }

# kafka_failed NODE WHAT
kafka_failed() {
  warn "error: Kafka (broker $1) $2"
  show_tail "$(kafka_log "$1")"
  exit 1
}

kafka_stop() { kafka_end "$1" TERM; }

kafka_kill() { kafka_end "$1" KILL; }

# kafka_end SERVICE SIGNAL
kafka_end() {
  local node home
  # All at once: the last controller of a quorum would wait for the others in vain.
  for node in $(kafka_nodes "$1"); do
    ! kafka_node_running "$node" || kill "-$2" "$(cat "$(kafka_home "$node")/pid")"
  done
  for node in $(kafka_nodes "$1"); do
    home=$(kafka_home "$node")
    wait_until "$kafka_stop_s_max" pid_gone "$home/pid" "$home/server.properties" || {
      warn "Kafka (broker $node) did not stop in $kafka_stop_s_max s: killing it"
      kill -KILL "$(cat "$home/pid")"
      wait_until 5 pid_gone "$home/pid" "$home/server.properties"
    }
    rm -f "$home/pid"
  done
}

kafka_clean() { rm -rf "$kafka_dir"; }

# kafka_tool NAME ARGUMENT...: one of Kafka's own tools against these brokers.
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

# kafka_format HOME
kafka_format() {
  local id output
  # Drawn anew, for a cleaned clone is another cluster: 16 bytes as 22 characters, never a dash first.
  [ -s "$kafka_dir/cluster-id" ] ||
    printf 'L%s\n' "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)" >"$kafka_dir/cluster-id"
  id=$(cat "$kafka_dir/cluster-id")
  output=$(kafka_java kafka.tools.StorageTool format -t "$id" -c "$1/server.properties" 2>&1) || die "cannot format $1/data: $output"
}

# kafka_choose_ports NODE: the client's, the controller's, and one for each further listener.
kafka_choose_ports() {
  local home link
  home=$(kafka_home "$1")
  mkdir -p "$home"
  free_port "$home/port" 20000
  free_port "$home/controller-port" 24000
  for link in ${LONGSHORE_SERVICES_LINKS:-}; do
    free_port "$home/${link%%=*}-port" 16000
  done
}

# kafka_configure NODE: its server.properties. Three brokers outlive the loss of one.
kafka_configure() {
  local home count node voters='' port replicas insync=1
  home=$(kafka_home "$1")
  port=$(cat "$home/port")
  count=$(kafka_count)
  replicas=$((count < 3 ? count : 3))
  [ "$count" -lt 3 ] || insync=2
  for node in $(kafka_nodes kafka); do
    voters+=${voters:+,}$node@127.0.0.1:$(cat "$(kafka_home "$node")/controller-port")
  done
  cat "$root/docker/kafka.properties"
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$(cat "$home/controller-port")$(kafka_links "$1" listen)
advertised.listeners=PLAINTEXT://127.0.0.1:$port$(kafka_links "$1" advertise)
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$(kafka_links "$1" protocol)
default.replication.factor=$replicas
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$insync
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$insync
min.insync.replicas=$insync
log.dirs=$home/data
PROPERTIES
}

# kafka_links NODE WHAT: the part of LONGSHORE_SERVICES_LINKS that is this broker's. Each link is a listener
# of its own, and what it says of itself is an address of the caller's: a proxy's.
kafka_links() {
  local link name address
  for link in ${LONGSHORE_SERVICES_LINKS:-}; do
    name=${link%%=*}
    address=$(printf '%s\n' "${link#*=}" | cut -d , -f "$1")
    [ -n "$address" ] || die "LONGSHORE_SERVICES_LINKS: $name has no address for broker $1"
    case "$2" in
      listen) printf ',%s://127.0.0.1:%s' "$name" "$(cat "$(kafka_home "$1")/$name-port")" ;;
      advertise) printf ',%s://%s' "$name" "$address" ;;
      protocol) printf ',%s:PLAINTEXT' "$name" ;;
    esac
  done
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
