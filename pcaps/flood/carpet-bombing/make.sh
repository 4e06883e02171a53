#!/bin/bash
# hping3 --rand-dest: a UDP flood spread over a whole /24: every address gets some
# forty packets a second, the prefix more than 8000.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside farm $(range 10.20.0. 10 250)
drops router output icmp type destination-unreachable
record router wan -s 96
on attacker timeout 15 hping3 -q -n -I eth0 --udp -p 4500 --rand-dest -d 64 -i u60 -c 30000 10.20.0.x >/dev/null 2>&1 || true
recorded
