#!/bin/bash
# Six inside machines keep time (chronyd -x) by seven outside servers, one of which
# is dead.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside clock $(range 203.0.113. 20 26)
drops clock input ip daddr 203.0.113.26
printf 'local stratum 3\nallow all\nport 123\ncmdport 0\nbindcmdaddress /\npidfile %s/clock.pid\n' $tmp >$tmp/clock
ip netns exec "$net-clock" chronyd -x -n -u root -f $tmp/clock >/dev/null 2>&1 &
for n in 1 2 3 4 5 6; do
	inside m$n 10.20.0.10$n
	{
		for s in $(seq 20 26); do echo "server 203.0.113.$s iburst minpoll 1 maxpoll 2"; done
		printf 'port 0\ncmdport 0\nbindcmdaddress /\npidfile %s/m%s.pid\n' $tmp $n
	} >$tmp/m$n
done
record router wan
for n in 1 2 3 4 5 6; do
	ip netns exec "$net-m$n" chronyd -x -n -u root -f $tmp/m$n >/dev/null 2>&1 &
done
sleep 45
recorded
