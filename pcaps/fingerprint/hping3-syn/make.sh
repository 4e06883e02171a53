#!/bin/bash
# hping3's SYN: no options, window 512.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client hping3 -q -n -I eth0 -S -p 80 -i u300000 -c 6 10.20.0.10 || true
recorded
