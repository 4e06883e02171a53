#!/bin/bash
# Downloads and uploads over a line that loses one packet in fifty, whose MTU then falls to 1,000: retransmissions that are cut
# otherwise than what was lost.
LAB_DELAY_MS=10
. "$(dirname "$0")/../../lab.sh"; lab
inside client 10.20.0.10
outside server 203.0.113.80
web server 80
on router iptables -w -A FORWARD -i wan -m statistic --mode random --probability 0.02 -j DROP # behind the mirror
record router wan -s 96
for _ in 1 2 3 4; do on client curl -s -o /dev/null --max-time 6 http://203.0.113.80/300.html || true; done
( sleep 0.3; on isp ip link set out mtu 1000; on server ip link set eth0 mtu 1000 ) &
for _ in 1 2 3; do on client curl -s -o /dev/null --max-time 6 http://203.0.113.80/300.html || true; done
wait $! || true
recorded
