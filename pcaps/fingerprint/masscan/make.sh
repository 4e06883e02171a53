#!/bin/bash
# masscan's SYN.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client timeout 15 masscan -e eth0 --rate 50 --wait 2 --seed 7 -p 22,80,443 10.20.0.10 || true
recorded
