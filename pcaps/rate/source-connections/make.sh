#!/bin/bash
# Twenty clients fetch one page a second from one web server for four minutes
# (played in 24 seconds, see stretch.py). Then wrk at 203.0.113.66 fetches pages
# for ten seconds over a new connection each, some 18 a second: no more than the
# service may have, but far more than one client has. Only headers are kept.
LAB_DELAY_MS=20
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside crowd $(range 198.51.100. 20 39)
outside scraper 203.0.113.66
inside server 10.20.0.10
web server 80
record router wan -s 96
pace 10
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 10 24
pace 1
on scraper wrk -t 1 -c 1 -d 10s -H 'Connection: close' http://10.20.0.10/0.2.html >&2
stretched
