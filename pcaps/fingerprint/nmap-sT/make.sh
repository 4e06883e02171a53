#!/bin/bash
# nmap's connect scan has the print of its kernel, not nmap's: no tool may be named.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client nmap -n -Pn -sT -p 80,443,22 10.20.0.10
recorded
