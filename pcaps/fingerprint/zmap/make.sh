#!/bin/bash
# zmap's SYN (IP id 54321).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
printf "" >$tmp/none
gw=$(on isp cat /sys/class/net/out/address)
on client timeout 30 zmap -q -p 80 -i eth0 -G $gw -b $tmp/none -r 20 -c 2 -o $tmp/found 10.20.0.8/29 || true
recorded
