#!/bin/bash
# Users visit a site; after two and a half minutes a release breaks it: every page answers 500, and
# they try again.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 60)
inside server 10.20.0.80
web server 80
sed -i "s|listen 80 |location / { if (-f $tmp/broken) { return 500; } } &|" $tmp/web-server/conf
on server nginx -c $tmp/web-server/conf -s reload
record router wan -s 400
visitors users 165 0.35 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 40) &
visitors users 165 0.35 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" $(range 198.51.100. 41 60) &
sleep 150
touch $tmp/broken
for n in 20 30 40 50; do
	visitors users 8 0.1 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" $(range 198.51.100. $n $((n + 4))) &
done
sleep 12
recorded
