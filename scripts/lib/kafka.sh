# shellcheck shell=bash
# Sourced by services.sh: Kafka, one node that is broker and controller, from the jars in Maven Central.

kafka_version=4.1.0
kafka_jars=$cache/kafka-$kafka_version
java_needed=17

kafka_packages() { # adds to the caller's list
  command -v java >/dev/null || packages+=(default-jre-headless)
  [ -d "$kafka_jars" ] || command -v mvn >/dev/null || packages+=(maven)
}

kafka_install() {
  local version work
  version=$(java -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p')
  [ "${version:-0}" -ge "$java_needed" ] || fail "Kafka $kafka_version needs Java $java_needed or newer, java here is ${version:-unknown}"
  [ ! -d "$kafka_jars" ] || return 0
  say "kafka: fetching Kafka $kafka_version with Maven (46 jars, 43 MB)"
  work=$(mktemp -d "$cache/kafka.XXXXXX")
  kafka_pom >"$work/pom.xml"
  (cd "$work" && mvn -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DoutputDirectory=jars -DincludeScope=runtime) >"$work/log" 2>&1 || {
    tail -n 15 "$work/log" >&2
    fail "Maven could not fetch Kafka; its output is in $work/log"
  }
  # moved when complete; somebody else's copy, fetched meanwhile, is as good
  mv -T "$work/jars" "$kafka_jars" 2>/dev/null || [ -d "$kafka_jars" ]
  rm -rf "$work"
}

kafka_pom() {
  cat <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tripline</groupId><artifactId>services</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
END
}

kafka_settings() {
  local kafka=127.0.0.1:$TRIPLINE_KAFKA_PORT controller=127.0.0.1:$TRIPLINE_KAFKA_CONTROLLER_PORT
  cat <<END
# written by scripts/services.sh at every start
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=$controller
listeners=PLAINTEXT://$kafka,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$kafka,CONTROLLER://$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$services_dir/kafka/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.hours=-1
log.retention.bytes=-1
END
}

kafka_start() {
  local home=$services_dir/kafka java
  java=(java -XX:+UseSerialGC -cp "$kafka_jars/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn
    -Dorg.slf4j.simpleLogger.showDateTime=true '-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS')
  mkdir -p "$home"
  kafka_settings >"$home/server.properties"
  if [ ! -d "$home/data" ]; then
    "${java[@]}" kafka.tools.StorageTool format --standalone -t "$(kafka_cluster_id)" -c "$home/server.properties" >"$home/format.log" 2>&1 || {
      tail -n 15 "$home/format.log" >&2
      fail "kafka: the storage could not be formatted"
    }
  fi
  start_detached "$home/pid" "$home/log" "${java[@]}" -Xms256m -Xmx768m kafka.Kafka "$home/server.properties"
}

# 16 random bytes in URL-safe base64; a leading dash would read as an option.
kafka_cluster_id() {
  head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | sed 's/^-/A/'
}
