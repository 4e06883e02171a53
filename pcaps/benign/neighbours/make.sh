#!/bin/bash
# Two strangers of one network: a monitoring service checks three ports of 20 hosts, one of which refuses, and pings
# them; meanwhile a user mistypes his password in two sessions, and then gets in.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside monitor 198.51.100.9
outside user 198.51.100.14
inside server 10.20.0.22
inside farm $(range 10.20.0. 30 49)
password_server server
web farm 22 80 443
on farm nft add table ip guard
on farm nft add chain ip guard input '{ type filter hook input priority 0; }'
on farm nft add rule ip guard input ip daddr 10.20.0.41 tcp dport 443 reject with tcp reset
record router wan -s 128
for round in 1 2 3; do
	on monitor fping -q -r 1 -i 5 $(range 10.20.0. 30 49) || true
	for h in 10.20.0.22 $(range 10.20.0. 30 49); do for p in 22 80 443; do [ $h.$p = 10.20.0.22.80 ] || [ $h.$p = 10.20.0.22.443 ] || echo "$h $p"; done; done |
		xargs -P 12 -L 1 sh -c 'ip netns exec "$0" /usr/lib/nagios/plugins/check_tcp -t 3 -H "$1" -p "$2" >/dev/null || true' "$net-monitor"
	[ $round = 3 ] || mistyped user 10.20.0.22
	sleep 2
done
by_key user 10.20.0.22 'ls -lR /etc | head -300' >/dev/null
recorded
