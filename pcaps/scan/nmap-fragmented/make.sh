#!/bin/bash
# nmap -f: a SYN scan in fragments of eight bytes, so that no packet carries a whole
# TCP header.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on attacker nmap -n -Pn -sS -f -T4 --top-ports 100 10.20.0.10
recorded
