#!/bin/bash
# A SYN flood just above the default floor (500 handshakes a second that nobody
# completes): hping3 --rand-source against the closed port 22 of a host whose web
# server 20 clients use meanwhile.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
outside clients $(range 198.51.100. 20 39)
record router wan -s 96
for i in $(seq 20 39); do
	( for _ in 1 2 3 4 5 6; do on clients curl -s -o /dev/null --interface 198.51.100.$i http://10.20.0.10/1.html; sleep 0.7; done ) &
done
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 22 --rand-source -i u1200 -c 3500 10.20.0.10 >/dev/null 2>&1 || true
recorded
