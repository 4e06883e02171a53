#!/bin/bash
# A real client as a label: curl on Linux with TCP timestamps and window scaling off
# (a hardened or old set-up).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client sysctl -qw net.ipv4.tcp_timestamps=0 net.ipv4.tcp_window_scaling=0
for i in 1 2 3; do on client curl -s -o /dev/null http://10.20.0.10/4.html; done
recorded
