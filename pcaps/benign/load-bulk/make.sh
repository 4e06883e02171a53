#!/bin/bash
# Twenty clients fetch two pages a second from one web server for four minutes
# (played in 24 seconds, see stretch.py). Then one of them fetches 20 MB from it.
LAB_DELAY_MS=20
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside crowd $(range 198.51.100. 20 39)
inside server 10.20.0.10
web server 80
head -c 20000000 /dev/zero >"$tmp/web-server/www/large"
record router wan -s 70
pace 10
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 20 24
pace 1
on crowd curl -s -m 60 --limit-rate 4M --interface 198.51.100.25 -o /dev/null http://10.20.0.10/large
stretched
