#!/bin/bash
# SNMP over UDP to six hosts in the name of 172.16.99.9, which nobody has: one packet a second to each, for ten seconds,
# by hping3.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside farm $(range 10.20.0. 30 35)
on farm sh -c 'socat -u UDP4-RECV:161 OPEN:/dev/null & echo' >/dev/null
sleep 0.5
record router wan
for i in $(seq 10); do
	for n in $(seq 30 35); do
		on attacker hping3 -q -n -I eth0 --udp -a 172.16.99.9 -p 161 -d 40 -c 1 10.20.0.$n >/dev/null 2>&1 || true &
	done
	wait $(jobs -p | grep -v "^$tcpdump_pid\$") 2>/dev/null || true
	sleep 0.5
done
recorded
