#!/bin/bash
# nmap's default SYN scan of one server: three ports open, the rest closed.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80 443 8080
record router wan
on attacker nmap -n -Pn -sS -T4 10.20.0.10
recorded
