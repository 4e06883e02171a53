#!/bin/bash
# Twenty sources share one masscan of two ports of 64 addresses: six or seven probes each, which is below every threshold of a
# single source, with the same tool and no probe twice.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside bots $(range 203.0.113. 100 119)
outside client 198.51.100.20
inside farm $(range 10.20.0. 20 49)
drops router output icmp type destination-unreachable
web farm 80
record router wan
for i in $(seq 1 20); do
	ip netns exec "$net-bots" timeout 20 masscan -e eth0 --adapter-ip 203.0.113.$((99 + i)) --rate 1 --wait 1 --seed 7 \
		--shards $i/20 -p 445,3389 10.20.0.64/26 >/dev/null 2>&1 &
	workers="${workers:-} $!"
done
wait $workers || true
for _ in 1 2 3 4 5 6 7; do on client curl -s -o /dev/null --max-time 1 http://10.20.0.20/0.2.html || true; sleep 1; done # life goes on
recorded
