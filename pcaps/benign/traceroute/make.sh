#!/bin/bash
# traceroute by UDP (another port with every probe), ICMP and TCP to three hosts.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside admin 198.51.100.14
inside servers 10.20.0.10 10.20.0.11 10.20.0.12
web servers 80
record router wan
for h in 10 11 12; do
	on admin traceroute -n -w 1 -q 3 10.20.0.$h >/dev/null
	on admin traceroute -n -w 1 -q 3 -I 10.20.0.$h >/dev/null
	on admin traceroute -n -w 1 -q 3 -T -p 80 10.20.0.$h >/dev/null
done
recorded
