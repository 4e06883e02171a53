#!/bin/bash
# A tunnel in echo requests and replies by ptunnel: 10.20.0.66 reaches the SSH
# server of 203.0.113.66 through it, and 30 kB come back.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside proxy 203.0.113.66
inside pc 10.20.0.66
ssh_server proxy
on proxy sysctl -qw net.ipv4.icmp_echo_ignore_all=1
on proxy ptunnel >"$tmp/server.log" 2>&1 &
sleep 1
record router wan
on pc ptunnel -p 203.0.113.66 -lp 2222 -da 203.0.113.66 -dp 22 >"$tmp/client.log" 2>&1 &
sleep 1
on pc timeout 60 ssh -q -p 2222 -i "$tmp/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 'head -c 30000 /dev/zero | tr "\0" x; sleep 5' | wc -c
recorded
