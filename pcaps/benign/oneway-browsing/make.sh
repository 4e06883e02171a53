#!/bin/bash
# Ordinary browsing, seen by a mirror that shows one direction only: what goes out
# (tcpdump -Q out). Eight clients, 24 servers, no answer in the capture, though the
# clients' ACKs tell that there were some.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 43)
inside office $(range 10.20.0. 101 108)
web web 80
record router wan -Q out -s 96
for c in $(seq 101 108); do
	for n in $(seq 20 43); do
		on office curl -s --interface 10.20.0.$c -o /dev/null http://203.0.113.$n/12.html -o /dev/null http://203.0.113.$n/1.html
	done &
	workers="${workers:-} $!"
done
wait $workers
recorded
