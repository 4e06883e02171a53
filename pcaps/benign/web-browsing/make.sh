#!/bin/bash
# Browser-like load: eight inside clients, 24 outside web servers; pages of seven
# files over up to six parallel connections with keep-alive (curl --parallel), some
# wget, a few aborted downloads, one server that is gone.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 43)
inside office $(range 10.20.0. 101 108)
web web 80 443
drops web input ip daddr 203.0.113.43
record router wan -s 128
for c in $(seq 101 108); do
	(
		for page in 1 2 3 4 5 6; do
			s=203.0.113.$((20 + (c * 7 + page * 5) % 24))
			on office curl -s --max-time 4 --parallel --parallel-immediate --parallel-max 6 --interface 10.20.0.$c \
				$(for f in 0.2 1 4 12 40 90 1; do echo "-o /dev/null http://$s/$f.html"; done) || true
			on office wget -q -O /dev/null -T 2 -t 1 --bind-address=10.20.0.$c http://$s/4.html http://$s/1.html http://$s/none.html || true
			on office curl -s -o /dev/null --max-time 0.09 --interface 10.20.0.$c http://203.0.113.$((20 + c % 20))/300.html || true
			sleep 0.5
		done
	) &
	workers="${workers:-} $!"
done
wait $workers
recorded
