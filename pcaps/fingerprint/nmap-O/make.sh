#!/bin/bash
# nmap's system detection (-O) of one host: its TCP, UDP and ICMP test packets after a
# scan of four ports.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client nmap -n -Pn -O -p 22,80,443,8080 10.20.0.10
recorded
