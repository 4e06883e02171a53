#!/bin/bash
# A crawler (wget, inside) visits 160 outside servers one after the other, up to
# eight at a time, two pages each; nine of them are gone, six refuse.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 179)
inside crawler 10.20.0.90
web web 80 443
drops web input ip daddr 203.0.113.60-203.0.113.68
on web nft add rule ip guard input ip daddr 203.0.113.100-203.0.113.105 tcp dport 80 reject with tcp reset
record router wan -s 96
seq 0 159 | awk '{print 20 + $1 * 53 % 160}' | xargs -P 8 -I{} ip netns exec "$net-crawler" \
	wget -q -O /dev/null -T 2 -t 1 http://203.0.113.{}/4.html http://203.0.113.{}/12.html || true
recorded
