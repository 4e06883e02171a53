#!/bin/bash
# A scraper gives another User-Agent with each request (curl, forty of them).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.80
web server 80
record router wan -s 512
for i in $(seq 160); do
	on attacker curl -s -o /dev/null -A "Mozilla/5.0 (X11; Linux x86_64; rv:$((60 + i % 40)).0) Gecko/20100101 Firefox/$((60 + i % 40)).0" http://10.20.0.80/0.2.html
	sleep 0.1
done
recorded
