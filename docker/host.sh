#!/bin/sh
# Starts the host role. Its id is the end of its container's name, so that a container that is made anew is the same
# host: Docker's own DNS knows the name by the address. The devices of each host have a folder of their own.
set -eu
name=$(getent hosts "$(hostname -i)" | awk '{ print $2 }')
number=$(printf %s "${name%%.*}" | sed 's/.*[^0-9]//')
if [ -z "$number" ]; then
    echo "the container's name ${name:-} does not end with a number; docker compose gives it one" >&2
    exit 1
fi
id="host-$number"
exec wasmbed --data-dir "/var/lib/wasmbed/$id" host --id "$id" --images /var/lib/firmware "$@"
