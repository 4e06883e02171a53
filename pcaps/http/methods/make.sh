#!/bin/bash
# Somebody tries what methods a web server has (curl).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.80
web server 80
record router wan -s 512
for i in 1 2 3 4; do
	for m in TRACE PROPFIND SEARCH TRACK MKCOL DEBUG; do on attacker curl -s -o /dev/null -X $m http://10.20.0.80/$i.html; done
done
recorded
