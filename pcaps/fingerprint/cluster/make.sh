#!/bin/bash
# Users with two systems visit a site. After two minutes and ten seconds forty machines of a third (no SACK) come, each again and
# again.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 40)
outside others $(range 198.51.100. 41 60)
outside botnet $(range 203.0.113. 20 59)
on others sysctl -qw net.ipv4.tcp_window_scaling=0
on botnet sysctl -qw net.ipv4.tcp_sack=0
inside server 10.20.0.80
web server 80
record router wan -s 300
visitors users 250 1 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 40) &
visitors others 250 1.4 http://10.20.0.80/1.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 41 60) &
sleep 130
visitors botnet 110 0.3 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 203.0.113. 20 59)
sleep 12
recorded
