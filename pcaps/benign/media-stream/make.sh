#!/bin/bash
# A one-way UDP stream an inside viewer asked for (iperf3 -u -R): 2500 packets a
# second, only the control connection speaks back.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside studio 203.0.113.30
inside viewer 10.20.0.88
ip netns exec "$net-studio" iperf3 -s -1 >/dev/null &
sleep 0.5
record router wan -s 64
on viewer iperf3 -c 203.0.113.30 -u -R -l 1200 -b 24M -t 4 >/dev/null
recorded
