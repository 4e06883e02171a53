#!/bin/bash
# 10.20.0.66 keeps one connection to port 443 of 203.0.113.66 open for four hours
# and speaks every 30 s, 10 % sooner or later: 380 to 420 bytes, answered by 500.
# The hours are played in minutes (see hours.py); tcpdump keeps 96 bytes.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside c2 203.0.113.66
inside pcs 10.20.0.66
on c2 /usr/bin/python3 "$pcaps_dir/parrot.py" 443 &
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
