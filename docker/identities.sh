#!/bin/sh
# Makes the fleet's certificate authority and gives everybody a certificate: who has one for long enough keeps it.
# The key of the authority lies in a volume of its own, which brokers, who read the rest, do not get to see.
set -eu
authority=/var/lib/authority
key=/var/lib/authority-key/ca.key
# Certificates are good for a year.
days_kept=300

if [ ! -e "$key" ]; then
    wasmbed ca init --dir "$authority"
    mv "$authority/ca.key" "$key"
    ln -s "$key" "$authority/ca.key"
    # It holds nothing private any more.
    chmod 755 "$authority"
fi

# issue FOLDER HOLDER...
issue() {
    folder=/var/lib/identities/$1
    shift
    if [ -z "$(find "$folder/identity.pem" -mtime "-$days_kept" 2>/dev/null)" ]; then
        wasmbed ca issue --dir "$authority" --out "$folder" "$@"
    fi
}

# Clients call it so: in containers, and on this machine.
issue broker broker --name broker --name mosquitto --name localhost --name 127.0.0.1
issue service service
issue operator operator
issue agent device agent-1
for number in $(seq "$WASMBED_HOSTS"); do
    issue "hosts/host-$number" host "host-$number"
done
