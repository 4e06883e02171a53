#!/bin/bash
# Sixteen sources share one masscan of a /24 (two ports): each takes its shard,
# 32 probes in about ten seconds, with the same tool and no probe twice.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside bots $(range 203.0.113. 100 115)
inside farm $(range 10.20.0. 20 49)
drops router output icmp type destination-unreachable
web farm 80
record router wan
for i in $(seq 1 16); do
	ip netns exec "$net-bots" timeout 16 masscan -e eth0 --adapter-ip 203.0.113.$((99 + i)) --rate 3 --wait 1 --seed 7 \
		--shards $i/16 -p 445,3389 10.20.0.0/24 >/dev/null 2>&1 &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
