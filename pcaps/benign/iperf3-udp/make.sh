#!/bin/bash
# iperf3 -u --bidir: a UDP stream of 6000 packets a second each way.
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.14
inside server 10.20.0.30
ip netns exec "$net-server" iperf3 -s -1 >/dev/null &
sleep 0.5
record router wan -s 64
on client iperf3 -c 10.20.0.30 -u --bidir -l 300 -b 14.4M -t 2 >/dev/null
recorded
