#!/bin/sh
# What a fleet needs beside a service that runs: signed firmware for its hosts, whom the agent trusts, and the first
# devices. Only what is missing is made, so that it may run again, with newer images for example.
set -eu
key=/var/lib/service/signing.key
wasmbed firmware factory /usr/local/share/wasmbed/images --output /var/lib/firmware --key "$key"

umask 077
printf "trusted = ['%s']\n" "$(wasmbed keys public "$key")" > /var/lib/agent/agent.toml.new
mv /var/lib/agent/agent.toml.new /var/lib/agent/agent.toml

known=$(wasmbed device list --json)
# add DEVICE BOARD [OPTION...]
add() {
    device=$1
    board=$2
    shift 2
    if ! printf %s "$known" | grep -q "\"id\": *\"$device\""; then
        wasmbed device add "$device" --board "$board" "$@"
    fi
}
host=1
for board in $WASMBED_BOARDS; do
    add "$board-1" "$board" --host "host-$host"
    host=$((3 - host))
done
add agent-1 linux
