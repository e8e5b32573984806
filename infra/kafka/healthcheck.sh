#!/usr/bin/env bash
# `healthcheck.sh [PORT]`: healthy when the broker answers a request of Kafka's own protocol: ApiVersions, version 0.
# Kafka's command-line tools would start a Java machine for every check, a second of CPU time each.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/${1:-9092}"
# length 10, API 18, version 0, correlation id 1, no client id
printf '\0\0\0\12\0\22\0\0\0\0\0\1\377\377' >&3
# length, the same correlation id, error code 0
answer=$(head -c 10 <&3 | od -An -v -tx1 | tr -d ' \n')
[[ $answer == ????????000000010000 ]] || {
  echo "the broker answers '$answer'"
  exit 1
}
