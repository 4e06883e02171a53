#!/bin/bash
# Thirty hosts, another port on each, and every one of them is open: netcat looks
# whether it can connect, one a second. No failure, only fan-out.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside farm $(range 10.20.0. 20 49)
ports="21 22 23 25 53 80 110 111 135 139 143 389 443 445 465 587 631 993 995 1433 1521 2049 3306 3389 5432 5900 6379 8080 8443 9200"
web farm $ports
record router wan
i=20
for p in $ports; do
	on attacker nc -nz -w 2 10.20.0.$i $p
	i=$((i + 1)); sleep 1
done
recorded
