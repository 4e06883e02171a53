#!/bin/bash
# A busy resolver (unbound, inside) asks 24 outside name servers, three of them
# dead, in the name of its clients: 600 names, a third of which do not exist. Every
# question leaves from another port.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside auth $(range 198.51.100. 20 43)
inside resolver 10.20.0.53
drops auth input ip daddr 198.51.100.41-198.51.100.43
resolver auth "$(for z in $(seq 20 43); do
		echo "local-zone: zone$z.test. static"
		for n in $(seq 1 16); do echo "local-data: 'h$n.zone$z.test. 60 A 203.0.113.$n'"; done
	done)"
resolver resolver "do-not-query-localhost: no" "local-zone: test. transparent" "$(for z in $(seq 20 43); do
	printf 'stub-zone:\nname: zone%s.test.\nstub-addr: 198.51.100.%s\nstub-addr: 198.51.100.%s\n' $z $z $(((z - 19) % 24 + 20))
	done; echo server:)"
for q in $(seq 0 599); do echo "h$((q / 24)).zone$((q % 24 + 20)).test"; done >$tmp/names
record router wan
split -n l/6 $tmp/names $tmp/names.
for f in $tmp/names.*; do
	on resolver timeout 60 dig @10.20.0.53 +tries=1 +time=2 -f $f >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
