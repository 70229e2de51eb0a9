#!/bin/sh
# What a fleet needs once the service runs: signed firmware for the hosts, the agent's trust, and the first devices.
# It does what is missing, so that it may run again, with newer images for example.
set -eu
wasmbed firmware factory /usr/local/share/wasmbed/images --output /var/lib/firmware --key /var/lib/service/signing.key
