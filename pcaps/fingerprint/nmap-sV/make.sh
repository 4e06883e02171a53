#!/bin/bash
# nmap's version detection (-sV): SYN scan of two ports, then full connections with
# nmap's probes.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client nmap -n -Pn -sV -p 80,443 10.20.0.10
recorded
