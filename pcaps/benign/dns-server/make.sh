#!/bin/bash
# A name server at work: 24 resolvers outside ask it 100 questions a second each
# (dnsperf), a quarter of them for names that do not exist; every one is answered.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside resolvers $(range 198.51.100. 20 43)
inside server 10.20.0.53
resolver server "local-zone: example.org. static" "$(for n in $(seq 30); do echo "local-data: 'h$n.example.org. A 10.20.0.$n'"; done)"
for n in $(seq 40); do echo "h$n.example.org A"; done >$tmp/questions
record router wan -s 96
for n in $(seq 20 43); do
	ip netns exec "$net-resolvers" dnsperf -s 10.20.0.53 -a 198.51.100.$n -d $tmp/questions -Q 100 -l 3 -c 4 >/dev/null &
	workers="${workers:-} $!"
done
wait $workers
recorded
