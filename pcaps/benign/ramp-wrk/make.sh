#!/bin/bash
# A web server has two connections a second for more than two minutes; then wrk,
# behind forty addresses, opens more of them in five steps within two minutes: more
# than 20 a second in the end, ten times as many. Played ten times as fast (see
# stretch.py).
LAB_DELAY_MS=100
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside load $(range 203.0.113. 20 59)
inside server 10.20.0.10
web server 80
many load $(range 203.0.113. 20 59)
record router wan -s 70
pace 10
for step in "5 14" "10 2" "20 2" "30 2" "40 2" "50 2"; do
	set -- $step
	on load wrk -t 1 -c $1 -d ${2}s --timeout 5s -H 'Connection: close' http://10.20.0.10/0.2.html >/dev/null
done
stretched
