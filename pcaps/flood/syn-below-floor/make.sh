#!/bin/bash
# A small web server, asked twice a second for two minutes; then some 170 SYNs a second from random addresses (hping3 --rand-source)
# for twelve seconds: far below the absolute floor, and far above what it usually has.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
outside clients $(range 198.51.100. 20 29)
inside victim 10.20.0.10
web victim 80
record router wan -s 96
ask() { on clients curl -s -o /dev/null --interface 198.51.100.$((20 + $1 % 10)) --max-time 2 http://10.20.0.10/0.2.html || true; sleep 0.47; }
for i in $(seq 240); do ask $i; done
ip netns exec "$net-attacker" timeout 20 hping3 -q -n -I eth0 -S -p 80 --rand-source -i u5000 -c 2000 10.20.0.10 >/dev/null 2>&1 &
for i in $(seq 25); do ask $i; done
wait $! || true
LAB_TAIL=2 recorded
