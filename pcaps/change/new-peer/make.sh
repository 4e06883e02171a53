#!/bin/bash
# For 27 hours clients fetch a page from the web server 10.20.0.10 three times an
# hour, and it asks 198.51.100.80 for updates now and then; the workstation
# 10.20.0.77 asks whom it likes. In the 26th hour the server fetches a page from
# 203.0.113.66. The hours are played in seconds (see hours.py).
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside crowd $(range 198.51.100. 20 29)
outside sites 198.51.100.80 $(range 203.0.113. 60 69)
inside server 10.20.0.10
inside pc 10.20.0.77
web server 80
web sites 80
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
