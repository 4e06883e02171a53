#!/bin/bash
# masscan looks for one service, HTTPS, in a /24.
# 30 hosts live in the /24 (10.20.0.20-49, five of them, .40-.44, behind a
# firewall); the router is told not to send "host unreachable" for the others.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside farm $(range 10.20.0. 20 49)
drops farm input ip daddr 10.20.0.40-10.20.0.44 ip protocol tcp
drops router output icmp type destination-unreachable
web farm 80 443
record router wan
on attacker timeout 20 masscan -e eth0 --rate 400 --wait 2 --seed 7 -p 443 10.20.0.0/24 || true
recorded
