#!/bin/bash
# Long and large pings by hand and by machine: 56, 1400 and 4000 bytes (fragments),
# one a fifth of a second for 30 seconds, to five targets; one target is down.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside far $(range 203.0.113. 20 24)
inside admin 10.20.0.15
drops far input ip daddr 203.0.113.24
record router wan -s 128
for n in 0 1 2 3 4; do
	size=$(echo 56 1400 4000 1400 56 | cut -d' ' -f$((n + 1)))
	ip netns exec "$net-admin" ping -q -s $size -i 0.2 -c 150 203.0.113.$((20 + n)) >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
