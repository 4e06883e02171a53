#!/bin/bash
# For 27 hours clients fetch a page from 10.20.0.10:80 three times an hour. In the
# 26th hour a client of the outside fetches a page from its port 8080, which nobody
# asked before. The hours are played in seconds (see hours.py).
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside crowd $(range 198.51.100. 20 29) 203.0.113.9
inside server 10.20.0.10
web server 80 8080
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
