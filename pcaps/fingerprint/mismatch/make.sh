#!/bin/bash
# Users visit a site with what they have; one client says it were Windows, over the TCP of Linux.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 60)
outside client 203.0.113.9
inside server 10.20.0.80
web server 80
record router wan -s 400
visitors users 20 0.2 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 60)
for i in $(seq 12); do
	on client curl -s -o /dev/null -A "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0" http://10.20.0.80/1.html
	sleep 0.3
done
recorded
