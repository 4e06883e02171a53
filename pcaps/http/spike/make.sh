#!/bin/bash
# Users visit a site; after two and a half minutes 150 requests a second come from 40 addresses (curl, six pages a connection).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 60)
outside more $(range 203.0.113. 20 59)
inside server 10.20.0.80
web server 80
record router wan -s 400
visitors users 165 0.3 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 40) &
visitors users 165 0.4 http://10.20.0.80/1.html "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" $(range 198.51.100. 41 60) &
sleep 150
u=http://10.20.0.80/0.2.html
for i in $(seq 12); do
	for n in $(seq 20 43); do
		on more curl -s -o /dev/null -o /dev/null -o /dev/null -o /dev/null -o /dev/null -o /dev/null --interface 203.0.113.$n \
			-A "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $u $u $u $u $u $u &
	done
	sleep 0.7
done
sleep 4
recorded
