#!/bin/bash
# A worm's neighbour: an inside host looks for SMB (445) in an outside /24 with nmap
# and at the same time browses ten servers, successfully and often, so that most of
# its connections do succeed.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 29)
inside worm 10.20.0.66
web web 80
on isp ip route add blackhole 198.51.100.0/24 metric 1 || true
on isp ip addr del 198.51.100.1/24 dev out
on isp ip route replace blackhole 198.51.100.0/24
record router wan -s 128
for n in $(seq 30); do
	for m in 1 2 3 4 5 6 7 8; do on worm curl -s -o /dev/null --max-time 3 http://203.0.113.$((20 + (n + m) % 10))/1.html; sleep 0.05; done
done &
browsing=$!
on worm nmap -n -Pn -sS -p 445 --max-retries 0 --min-rate 8 --max-rate 8 198.51.100.0/25
wait $browsing
recorded
