#!/bin/bash
# hping3: ICMP echo flood by one source; the victim answers.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 64
on attacker timeout 12 hping3 -q -n -I eth0 --icmp -d 400 -i u60 -c 20000 10.20.0.10 >/dev/null 2>&1 || true
recorded
