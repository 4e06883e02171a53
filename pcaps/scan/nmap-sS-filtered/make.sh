#!/bin/bash
# nmap's SYN scan of one server behind a firewall that drops everything in silence.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80 443 8080
drops server input ip saddr 198.51.100.0/24
record router wan
on attacker nmap -n -Pn -sS -T4 -p 1-300 --max-retries 1 10.20.0.10
recorded
