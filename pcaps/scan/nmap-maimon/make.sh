#!/bin/bash
# nmap's Maimon scan (FIN and ACK): Linux answers RST.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80 443 8080
record router wan
on attacker nmap -n -Pn -sM -T4 -p 1-400 10.20.0.10
recorded
