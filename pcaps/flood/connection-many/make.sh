#!/bin/bash
# The same from 40 sources, each far below any limit of its own: 40 ab with six
# connections at a time.
LAB_DELAY_MS=30
. "$(dirname "$0")/../../lab.sh"; lab
inside victim 10.20.0.10
outside bots $(range 198.51.100. 20 59)
web victim 80
record router wan -s 70
for i in $(seq 20 59); do
	ip netns exec "$net-bots" timeout 20 ab -q -c 6 -n 112 -B 198.51.100.$i http://10.20.0.10/0.2.html >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
