#!/bin/bash
# Monitoring by ping: fping asks 20 hosts for 20 rounds of five, as smokeping has
# it ask (56 bytes), ten rounds of 1000 bytes, and ten rounds of random bytes (-R).
. "$(dirname "$0")/../../lab.sh"; lab
outside far $(range 198.51.100. 20 39)
inside monitor 10.20.0.20
record router wan
for _ in $(seq 20); do on monitor fping -q -C 5 -p 100 -i 1 -B1 -r1 $(range 198.51.100. 20 39) >/dev/null 2>&1; done
for _ in $(seq 10); do on monitor fping -q -C 2 -p 50 -i 1 -b 1000 $(range 198.51.100. 20 29) >/dev/null 2>&1; done
for _ in $(seq 10); do on monitor fping -q -R -C 5 -p 50 -i 1 $(range 198.51.100. 20 29) >/dev/null 2>&1; done
recorded
