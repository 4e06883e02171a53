#!/bin/bash
# nmap's ping sweep (echo requests) of a /24 across the router: 30 hosts answer;
# for the others the router says "host unreachable" once ARP has failed.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside farm $(range 10.20.0. 20 49)
record router wan
on attacker nmap -n -sn -PE -T4 10.20.0.0/24
LAB_TAIL=5 recorded
