#!/bin/sh
# Starts Mosquitto with the permissions of topics.md.
set -eu
{
    cat <<'ACL'
pattern write wasmbed/v1/%u/up/#
pattern read wasmbed/v1/%u/dn/#
user _service
topic readwrite wasmbed/#
user _operator
topic write wasmbed/v1/_fleet/cmd/+
topic write wasmbed/v1/_fleet/put/#
topic write wasmbed/v1/+/dn/msg/#
topic read wasmbed/v1/#
ACL
    for number in $(seq "$WASMBED_HOSTS"); do
        printf 'user _host.host-%s\n' "$number"
        printf 'topic write wasmbed/v1/_host/host-%s/up/#\n' "$number"
        printf 'topic read wasmbed/v1/_host/host-%s/dn/#\n' "$number"
    done
} > /tmp/acl
exec mosquitto -c /usr/local/lib/wasmbed/mosquitto.conf
