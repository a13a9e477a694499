# shellcheck shell=bash
# Sourced by services.sh: does it answer? Plain bash over /dev/tcp, so that nothing has to be installed to ask.

port_open() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Kafka is ready when its metadata names a broker: a broker that is still starting is not in it.
kafka_answers() {
  local reply
  # size, Metadata (3) version 4, correlation id 1, no client id, no topics, do not create any
  reply=$(exchange "$1" '\0\0\0\x0f\0\x03\0\x04\0\0\0\x01\xff\xff\0\0\0\0\0' 16 | od -An -v -tu1 | tr -s ' \n' ' ')
  # bytes 12 to 15 count the brokers, behind size, correlation id and throttle time
  [[ $reply =~ ^(\ [0-9]+){12}\ 0\ 0\ 0\ [1-9] ]]
}

clickhouse_answers() {
  exchange "$1" 'GET /ping HTTP/1.0\r\n\r\n' 4096 | grep -q '^Ok\.'
}

# exchange PORT BYTES COUNT: sends the bytes, copies at most COUNT of what comes back within three seconds.
exchange() {
  # shellcheck disable=SC2016 # the inner shell expands it
  timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && head -c "$3" <&3' _ "$@" 2>/dev/null
}
