#!/bin/bash
# Twenty clients fetch two pages a second from one web server for four minutes
# (played in 24 seconds, see stretch.py). Then wrk, behind forty addresses, opens
# a hundred connections a second for six seconds.
LAB_DELAY_MS=20
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside crowd $(range 198.51.100. 20 39)
outside load $(range 203.0.113. 20 59)
inside server 10.20.0.10
web server 80
many load $(range 203.0.113. 20 59)
record router wan -s 96
pace 10
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 20 24
pace 1
on load wrk -t 1 -c 9 -d 6s -H 'Connection: close' http://10.20.0.10/0.2.html >&2
stretched
