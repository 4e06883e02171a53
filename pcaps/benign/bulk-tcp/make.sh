#!/bin/bash
# iperf3: 24 MB up and 24 MB down over TCP as fast as it goes; thousands of bare
# ACKs a second.
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.14
inside server 10.20.0.30
ip netns exec "$net-server" sh -c 'iperf3 -s -1; iperf3 -s -1' >/dev/null &
sleep 0.5
record router wan -s 66
on client iperf3 -c 10.20.0.30 -n 24M >/dev/null
sleep 1
on client iperf3 -c 10.20.0.30 -R -n 24M >/dev/null
recorded
