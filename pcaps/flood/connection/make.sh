#!/bin/bash
# ab without keep-alive, 200 at once: completed handshakes, a request and an answer
# each, as fast as it goes, from one source.
LAB_DELAY_MS=30
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 70
on attacker timeout 20 ab -q -c 220 -n 4500 http://10.20.0.10/0.2.html >/dev/null
recorded
