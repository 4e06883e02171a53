#!/bin/bash
# nmap's UDP scan of one server. Closed ports answer ICMP port unreachable, as
# often as the kernel's limit lets them (about one a second); DNS is open.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
resolver server
record router wan
on attacker nmap -n -Pn -sU -T4 --top-ports 60 --max-retries 2 --host-timeout 90s 10.20.0.10
recorded
