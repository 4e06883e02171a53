#!/bin/bash
# 200 clients come to one web server within 20 seconds: a page of five files each
# over two connections; one in twelve gives up in the middle.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside crowd $(range 198.51.100. 20 219)
inside server 10.20.0.10
web server 80
record router wan -s 96
for i in $(seq 20 219); do
	m=10; [ $((i % 12)) = 0 ] && m=0.15
	on crowd curl -s --max-time $m --parallel --parallel-max 2 --interface 198.51.100.$i \
		$(for f in 1 4 12 1 40; do echo "-o /dev/null http://10.20.0.10/$f.html"; done) &
	workers="${workers:-} $!"
	sleep 0.08
done
wait $workers || true
recorded
