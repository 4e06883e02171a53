#!/bin/bash
# A tunnel by iodine: 10.20.0.66 asks the outside name server 198.51.100.53, which
# is iodined for t.example.org, without its raw mode, with the types and codecs
# that it finds out by itself; then six pings and 20 kB by HTTP go through.
LAB_DELAY_MS=10
. "$(dirname "$0")/../../lab.sh"; lab
outside evil 198.51.100.53
inside pc 10.20.0.66
on evil iodined -f -c -P secret 10.99.0.1 t.example.org >"$tmp/iodined.log" 2>&1 &
sleep 1
record router wan
on pc iodine -f -r -P secret 198.51.100.53 t.example.org >"$tmp/iodine.log" 2>&1 &
for _ in $(seq 60); do on pc ip addr show dev dns0 2>/dev/null | grep -q 10.99 && break; sleep 0.5; done
web evil 80
on pc ping -c 6 -i 0.5 10.99.0.1 | tail -2
on pc curl -s -m 20 -o /dev/null http://10.99.0.1/12.html
sleep 5
recorded
