#!/bin/bash
# A host that is not its own: curl fetches 200 bytes of the outside server
# 203.0.113.66 each minute, 20 % sooner or later, for five hours, among the
# browsing of three hosts, itself one of them. The hours are played in minutes
# (see hours.py); tcpdump keeps 96 bytes.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside c2 203.0.113.66
outside sites $(range 198.51.100. 20 29)
inside pcs 10.20.0.20 10.20.0.21 10.20.0.66
web c2 80
web sites 80
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
