#!/bin/bash
# Clients fetch a page from 10.20.0.10 and one from 10.20.0.11 every six seconds.
# After thirteen minutes 10.20.0.10 answers nobody any more, for five minutes;
# clients go on asking. Then it is back. The minutes are played in seconds (see
# hours.py).
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside crowd $(range 198.51.100. 20 29)
inside server 10.20.0.10
inside other 10.20.0.11
web server 80
web other 80
record router wan -s 70
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
