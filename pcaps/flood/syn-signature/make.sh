#!/bin/bash
# A spoofed SYN flood (hping3 --rand-source) of a web server that 30 clients use before
# and meanwhile: enough normal traffic that the flood's header signature can be told from it.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
outside clients $(range 198.51.100. 20 49)
record router wan -s 96
for i in $(seq 20 49); do
	( for _ in $(seq 12); do on clients curl -s -o /dev/null --interface 198.51.100.$i http://10.20.0.10/1.html || true; sleep 0.6; done ) &
done
sleep 4
on attacker timeout 12 hping3 -q -n -I eth0 -S -p 80 --rand-source -i u500 -c 5000 10.20.0.10 >/dev/null 2>&1 || true
recorded
