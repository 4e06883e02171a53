#!/bin/bash
# zmap looks for one service in a /24 where 30 hosts live; ten of them have it.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside farm $(range 10.20.0. 20 49)
drops farm input ip daddr 10.20.0.40-10.20.0.44 ip protocol tcp
drops router output icmp type destination-unreachable
web farm 443
on farm nft add rule ip guard input ip daddr 10.20.0.20-10.20.0.34 tcp dport 443 reject with tcp reset
: >$tmp/none
gateway=$(on isp cat /sys/class/net/out/address)
record router wan
on attacker timeout 40 zmap -q -p 443 -i eth0 -G $gateway -b $tmp/none -r 100 -c 2 -e 7 -o $tmp/found 10.20.0.0/24 || true
recorded
