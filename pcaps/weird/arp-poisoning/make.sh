#!/bin/bash
# arpspoof tells a client, every two seconds, that the gateway is at the attacker's MAC. The client asks for the gateway now
# and then, and the gateway answers. Recorded at the client's switch port.
. "$(dirname "$0")/../../lab.sh"; lab
inside client 10.20.0.10
inside attacker 10.20.0.66
outside server 198.51.100.23
web server 80
on attacker sysctl -qw net.ipv4.ip_forward=0
record client eth0
for _ in 1 2 3 4 5; do # before
	on client ip neigh flush dev eth0
	on client curl -s -o /dev/null --max-time 2 http://198.51.100.23/1.html || true
	sleep 2.5
done
ip netns exec "$net-attacker" timeout 40 arpspoof -i eth0 -t 10.20.0.10 10.20.0.1 >/dev/null 2>&1 &
for _ in 1 2 3 4 5 6 7 8; do
	sleep 4.2
	on client arping -q -c 1 -w 1 -i eth0 10.20.0.1 >/dev/null 2>&1 || true # its owner answers, too
done
recorded
