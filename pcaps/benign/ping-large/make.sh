#!/bin/bash
# Pings that are large, many, or of all sizes: 200 of 1400 bytes, a flood of 3000,
# a search for the path's MTU (sizes 500 to 1472 without fragmentation, twice), 60
# with a pattern of their own, and 100 of 56 bytes while a third is lost.
. "$(dirname "$0")/../../lab.sh"; lab
outside far $(range 198.51.100. 20 25)
inside pcs 10.20.0.20 10.20.0.21
record router wan
on pcs ping -q -i 0.02 -s 1400 -c 200 198.51.100.20 >/dev/null
on pcs ping -q -f -c 3000 198.51.100.21 >/dev/null
for _ in 1 2; do
	for s in $(seq 500 12 1472); do on pcs ping -q -M do -c 1 -W 1 -s "$s" 198.51.100.22 >/dev/null; done
done
for p in 00ff 5a5a deadbeef; do on pcs ping -q -i 0.02 -c 20 -s 200 -p $p 198.51.100.23 >/dev/null; done
on far iptables -w -A INPUT -d 198.51.100.24 -m statistic --mode nth --every 3 --packet 0 -j DROP
on pcs ping -q -i 0.02 -W 1 -c 100 198.51.100.24 >/dev/null || true
recorded
