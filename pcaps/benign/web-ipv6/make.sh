#!/bin/bash
# The same over IPv6, smaller: three inside clients, one outside server.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
ipv6_site
outside web 203.0.113.20
ipv6 web 2001:db8:51::20 2001:db8:51::1
inside office 10.20.0.101
ipv6 office fd00:20::101 fd00:20::1
on office ip addr add fd00:20::102/64 dev eth0 nodad
on office ip addr add fd00:20::103/64 dev eth0 nodad
web web 80 "[::]:80"
record router wan -s 128
for c in 1 2 3 4 5 6 7 8 9; do
	on office curl -s --parallel --parallel-max 6 --interface fd00:20::10$((c % 3 + 1)) \
		$(for f in 0.2 1 4 12 40 90; do echo "-o /dev/null http://[2001:db8:51::20]/$f.html"; done)
	sleep 0.3
done
on office ping -6 -q -c 10 -i 0.2 2001:db8:51::20
recorded
