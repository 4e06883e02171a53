#!/bin/bash
# Forty clients browse 180 outside servers from behind one address (the router's
# source NAT, 192.0.2.2); every one of them also tries one to three of two dozen
# servers that are gone.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside web $(range 203.0.113. 20 199)
inside office $(range 10.20.0. 101 140)
web web 80 443 8080
on router nft add table ip nat
on router nft add chain ip nat out '{ type nat hook postrouting priority 100; }'
on router nft add rule ip nat out oifname wan masquerade random
on isp ip route add blackhole 203.0.113.224/27
record router wan -s 96
for c in $(seq 101 140); do
	(
		for n in 1 2 3 4 5 6 7 8 9 10; do
			on office curl -s --max-time 4 --interface 10.20.0.$c -o /dev/null http://203.0.113.$((20 + (c * 11 + n * 37) % 180))/4.html \
				-o /dev/null http://203.0.113.$((20 + (c * 11 + n * 37) % 180))/12.html || true
			[ $((n % 4)) = 1 ] && [ $((n / 4)) -le $((c % 3)) ] &&
				on office curl -s --max-time 2 --interface 10.20.0.$c -o /dev/null http://203.0.113.$((226 + (c + n) % 24))/ || true
			sleep 0.6
		done
	) &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
