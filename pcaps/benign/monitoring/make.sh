#!/bin/bash
# A monitoring host (outside, as a hosted service is) checks 60 hosts again and
# again: ping, and five ports each (check_tcp of the monitoring plugins). All
# answer; three services are stopped and refuse.
LAB_DELAY_MS=8
. "$(dirname "$0")/../../lab.sh"; lab
outside monitor 198.51.100.9
inside farm $(range 10.20.0. 20 79)
web farm 22 25 80 443 8080
on farm nft add table ip guard
on farm nft add chain ip guard input '{ type filter hook input priority 0; }'
on farm nft add rule ip guard input ip daddr '{ 10.20.0.33, 10.20.0.47 }' tcp dport 8080 reject with tcp reset
on farm nft add rule ip guard input ip daddr 10.20.0.61 tcp dport 25 reject with tcp reset
record router wan -s 96
for round in 1 2 3 4; do
	on monitor fping -q -r 1 -i 5 $(range 10.20.0. 20 79) || true
	for h in $(range 10.20.0. 20 79); do for p in 22 25 80 443 8080; do echo "$h $p"; done; done |
		xargs -P 12 -L 1 sh -c 'ip netns exec "$0" /usr/lib/nagios/plugins/check_tcp -t 3 -H "$1" -p "$2" >/dev/null || true' "$net-monitor"
	sleep 2
done
recorded
