#!/bin/bash
# A machine announces its address by gratuitous ARP some 200 times a second, for seven seconds. Recorded at another's switch port.
. "$(dirname "$0")/../../lab.sh"; lab
inside client 10.20.0.10
inside loud 10.20.0.66
record client eth0
for _ in 1 2 3; do
	ip netns exec "$net-loud" timeout 7 arping -q -i eth0 -U -W 0.004 10.20.0.66 >/dev/null 2>&1 &
done
sleep 7.5
recorded
