#!/bin/bash
# nmap's SYN scan of one server over IPv6: two ports open, the rest closed.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
ipv6_site
outside attacker 198.51.100.23
ipv6 attacker 2001:db8:51::23 2001:db8:51::1
inside server 10.20.0.10
ipv6 server fd00:20::10 fd00:20::1
web server 80 443 "[::]:80" "[::]:443"
record router wan
on attacker nmap -6 -n -Pn -sS -T4 -p 1-500 fd00:20::10
recorded
