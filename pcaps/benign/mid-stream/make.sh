#!/bin/bash
# A sensor that starts late: 100 connections of one proxy (inside) to 50 servers are
# under way when the recording begins. First come bare ACKs and data, then FINs; 30
# of them end with RST.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 69)
inside proxy 10.20.0.80
web web 80
on proxy sysctl -qw net.ipv4.tcp_rmem="4096 8192 16384" # or it would all be in its buffers at once
for n in $(seq 20 69); do
	on proxy curl -s -o /dev/null --limit-rate 24k http://203.0.113.$n/90.html &
	workers="${workers:-} $!"
	m=7; [ $((n % 5)) -lt 2 ] && m=30
	on proxy curl -s -o /dev/null --limit-rate 9k --max-time $m http://203.0.113.$n/90.html &
	workers="$workers $!"
done
sleep 1.5
record router wan -s 96
wait $workers || true
recorded
