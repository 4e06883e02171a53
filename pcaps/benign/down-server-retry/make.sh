#!/bin/bash
# A client whose server is down goes on trying: SYNs and their retries to one
# silent address and port for a minute, and once a second to one that refuses.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside servers 203.0.113.20 203.0.113.21
inside client 10.20.0.31
drops servers input ip daddr 203.0.113.20
record router wan
for t in $(seq 20); do on client curl -s --max-time 2.7 http://203.0.113.20:8443/ || true; done &
silent=$!
for t in $(seq 55); do on client curl -s --max-time 1 http://203.0.113.21:8443/ || true; sleep 1; done
wait $silent
recorded
