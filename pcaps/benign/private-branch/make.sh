#!/bin/bash
# Ten hosts of a branch (192.168.7.0/24, which is of the site) send their logs to 10.20.0.10 and 10.20.0.11, two more
# ports of which nobody answers. A partner (172.16.9.9, which is not) asks for pages of 10.20.0.10-12 over a tunnel, and
# sends logs there, too. The log's way is UDP: one-way.
. "$(dirname "$0")/../../lab.sh"; lab
outside branch 198.51.100.2 $(range 192.168.7. 20 29)
outside partner 198.51.100.3 172.16.9.9
inside loggers $(range 10.20.0. 10 12)
on isp ip addr add 192.168.7.1/24 dev out
on isp ip addr add 172.16.9.1/24 dev out
on branch ip route replace default via 192.168.7.1 src 192.168.7.20
on partner ip route replace default via 172.16.9.1 src 172.16.9.9
web loggers 80
for p in 514 5140 6514; do on loggers sh -c "socat -u UDP4-RECV:$p OPEN:/dev/null & echo" >/dev/null; done
sleep 0.5
record router wan
say() { echo "<134>$2 app: event $3" | on "$1" socat -u - "UDP4-SENDTO:$4,bind=$2"; }
for i in $(seq 4); do
	for n in $(seq 20 29); do
		for to in 10.20.0.10:514 10.20.0.11:514 10.20.0.11:5140 10.20.0.10:6514; do say branch 192.168.7.$n $i $to; done
	done
	for n in 10 11 12; do
		on partner curl -s -o /dev/null http://10.20.0.$n/1.html
		for p in 514 5140 6514; do say partner 172.16.9.9 $i 10.20.0.$n:$p; done
	done
	sleep 2
done
recorded
