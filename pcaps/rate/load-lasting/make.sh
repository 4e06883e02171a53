#!/bin/bash
# Twenty clients fetch one page a second from one web server for four minutes
# (played in 24 seconds, see stretch.py). Then wrk, behind forty addresses, opens
# some 25 connections a second, and goes on like that for 70 seconds (played in
# seven); after it the clients have the server to themselves again for 100.
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
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 10 24
on load wrk -t 1 -c 22 -d 7s -H 'Connection: close' http://10.20.0.10/0.2.html >&2
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 10 10
stretched
