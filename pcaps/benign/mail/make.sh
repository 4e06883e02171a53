#!/bin/bash
# A mail relay (swaks, inside) delivers to 30 outside mail exchangers: 24 take it,
# two refuse the connection, four are dead and tried again. Mail comes in, too.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside mx $(range 203.0.113. 20 49)
inside relay 10.20.0.25
ip netns exec "$net-mx" smtp-sink -u nobody 0.0.0.0:25 200 &
ip netns exec "$net-relay" smtp-sink -u nobody 0.0.0.0:25 200 &
drops mx input ip daddr 203.0.113.46-203.0.113.49
on mx nft add rule ip guard input ip daddr 203.0.113.44-203.0.113.45 tcp dport 25 reject with tcp reset
head -c 6000 /dev/zero | tr '\0' m | fold -w 70 >$tmp/body
record router wan -s 192
(
	for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
		on mx swaks --silent 3 --server 10.20.0.25 -li 203.0.113.$((20 + n)) --to a@example.net --from b@example.org --body @$tmp/body || true
		sleep 1
	done
) &
incoming=$!
for round in 1 2 3; do
	for n in $(seq 20 49); do echo $n; done | xargs -P 6 -I{} ip netns exec "$net-relay" timeout 8 \
		swaks --silent 3 --timeout 5 --server 203.0.113.{} --to a@example.org --from b@example.net --body @$tmp/body || true
done
wait $incoming
recorded
