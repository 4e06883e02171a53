#!/bin/bash
# The same with segmentation offload left on: what a sensor on the host itself
# sees, "frames" of up to 64 kB.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.14
inside server 10.20.0.30
ip netns exec "$net-server" sh -c 'iperf3 -s -1; iperf3 -s -1' >/dev/null &
sleep 0.5
record router wan -s 66
on client iperf3 -c 10.20.0.30 -n 40M >/dev/null
sleep 1
on client iperf3 -c 10.20.0.30 -R -n 40M >/dev/null
recorded
