#!/bin/bash
# nmap looks for SNMP (UDP 161) in a /24 where 30 hosts live: they say "port
# unreachable", the rest is silent.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside farm $(range 10.20.0. 20 49)
# One namespace plays 30 hosts, each of which would have its own ICMP limit.
on farm sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=10000
drops router output icmp type destination-unreachable
record router wan
on attacker nmap -n -Pn -sU -T4 --max-retries 1 -p 161 10.20.0.0/24
recorded
