#!/bin/bash
# A burst: for some three seconds 600 new connections a second to one web server by
# 60 clients (ab), every one completed, asked, answered and closed.
LAB_DELAY_MS=22
. "$(dirname "$0")/../../lab.sh"; lab
outside clients $(range 198.51.100. 20 79)
inside server 10.20.0.10
web server 80
record router wan -s 70
for i in $(seq 20 79); do
	ip netns exec "$net-clients" timeout 20 ab -q -c 1 -n 32 -B 198.51.100.$i http://10.20.0.10/1.html >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
