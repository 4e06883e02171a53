#!/bin/bash
# Two clients fetch 300 kB again and again from one web server, at 40 kB/s each
# (curl), for two and a half minutes. Then one frame in eight is lost behind the
# mirror port, for 20 seconds (see delay.py). Nothing of it is stretched.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab; wire=$!
outside crowd $(range 198.51.100. 20 21)
inside server 10.20.0.10
web server 80
record router wan -s 70
end=$(($(date +%s) + 170))
for i in 20 21; do
	while [ $(date +%s) -lt $end ]; do
		on crowd curl -s -m 30 --limit-rate 40k --interface 198.51.100.$i -o /dev/null http://10.20.0.10/300.html || true
	done &
done
sleep 150
kill -USR2 $wire
sleep 20
recorded
