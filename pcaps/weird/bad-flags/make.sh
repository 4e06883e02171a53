#!/bin/bash
# Packets with SYN and FIN to one open port, two a second for 25 seconds, by hping3: no scan, it is always the same port.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80
record router wan
on attacker timeout 40 hping3 -q -n -I eth0 -S -F -p 80 -i u500000 -c 50 10.20.0.10 >/dev/null 2>&1 || true
recorded
