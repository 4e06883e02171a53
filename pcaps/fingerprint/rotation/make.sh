#!/bin/bash
# Users with two systems visit a site. After two minutes and ten seconds one client (another system: no SACK) comes from a new
# address every four seconds, two requests from each, two seconds apart.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 40)
outside others $(range 198.51.100. 41 60)
outside client $(range 203.0.113. 20 79)
on others sysctl -qw net.ipv4.tcp_window_scaling=0
on client sysctl -qw net.ipv4.tcp_sack=0
inside server 10.20.0.80
web server 80
record router wan -s 300
visitors users 275 1 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 40) &
visitors others 275 1.4 http://10.20.0.80/1.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 41 60) &
sleep 130
for n in $(seq 20 55); do
	for i in 1 2; do
		on client curl -s -m 4 -o /dev/null --interface 203.0.113.$n -A "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" http://10.20.0.80/0.2.html
		sleep 2
	done
done
recorded
