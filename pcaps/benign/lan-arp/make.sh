#!/bin/bash
# A file server's switch port: it speaks with 36 machines of its own LAN (ping,
# web) for 40 seconds, so that ARP asks for every one of them now and then; four
# that it looks for are switched off.
. "$(dirname "$0")/../../lab.sh"; lab
inside fileserver 10.20.0.5
inside desks $(range 10.20.0. 100 135)
web desks 80
record router fileserver
for round in 1 2; do
	for h in $(seq 100 139); do
		on fileserver ping -q -c 1 -W 1 10.20.0.$h >/dev/null || true
		on fileserver curl -s -o /dev/null --max-time 1 http://10.20.0.$h/1.html || true
		sleep 0.2
	done
done
recorded
