#!/bin/sh
# Starts the host role. Its id is the end of its container's name, as Docker's own DNS tells it, so that a container
# that is made anew is the same host: it finds its certificate, and the folder with what its devices keep.
set -eu
name=$(getent -s dns hosts "$(hostname -i)" | awk '{ print $2 }')
number=$(printf %s "${name%%.*}" | sed 's/.*[^0-9]//')
identity=/etc/wasmbed/host-$number
if [ ! -e "$identity/identity.pem" ]; then
    echo "there is no certificate for host-$number (container $name): set WASMBED_HOSTS to $number or more, and let" \
        "docker compose start the identities again" >&2
    exit 1
fi
export WASMBED__BROKER__CA_FILE="$identity/ca.pem"
export WASMBED__BROKER__CERT_FILE="$identity/identity.pem"
export WASMBED__BROKER__KEY_FILE="$identity/identity.key"
export WASMBED_DATA_DIR="/var/lib/wasmbed/host-$number"
exec wasmbed host --id "host-$number" --images /var/lib/firmware
