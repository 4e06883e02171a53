#!/bin/bash
# hping3 as it comes: SYN flood of a web server by one source; the source's own
# kernel answers every SYN-ACK with RST.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 443 -i u300 -c 6000 10.20.0.10 >/dev/null 2>&1 || true
recorded
