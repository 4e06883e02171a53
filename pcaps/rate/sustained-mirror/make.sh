#!/bin/bash
# Thirty clients read from a web server with 2,000 pages: each some pages a
# minute, for a minute or two of every five; 25 minutes of it before, and all
# along. Then wget at 203.0.113.66 takes all pages it is linked to, two a second,
# for eight minutes. All played twenty times as fast (see stretch.py). The snaplen
# keeps the heads of requests.
LAB_DELAY_MS=1
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside crowd $(range 198.51.100. 20 49)
outside mirror 203.0.113.66
inside server 10.20.0.10
web server 80
for i in $(seq 2000); do echo page $i >"$tmp/web-server/www/p$i.html"; done
seq 2000 | sed 's/.*/<a href="p&.html">&<\/a>/' >"$tmp/web-server/www/all.html"
record router wan -s 300
pace 20
on crowd /usr/bin/python3 "$case_dir/readers.py" 75 &
sleep 75
on crowd /usr/bin/python3 "$case_dir/readers.py" 25 &
on mirror timeout 24 wget -q -r -l 1 --no-parent -w 0.025 -P "$tmp/copy" http://10.20.0.10/all.html || true
stretched
