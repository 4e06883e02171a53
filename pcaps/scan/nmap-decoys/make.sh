#!/bin/bash
# nmap -D: the scan's probes seem to come from five sources; four of them are
# decoys that never sent anything.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on attacker nmap -n -Pn -sS -T4 -D 203.0.113.11,203.0.113.12,198.51.100.77,ME,198.51.100.78 --top-ports 100 10.20.0.10
recorded
