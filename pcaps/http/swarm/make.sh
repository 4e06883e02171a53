#!/bin/bash
# Users of three browsers visit a site; after two and a half minutes 60 addresses come with one User-Agent that nobody had.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/visitors.sh; lab
outside users $(range 198.51.100. 20 60)
outside botnet $(range 203.0.113. 20 79)
inside server 10.20.0.80
web server 80
record router wan -s 400
visitors users 185 0.4 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0" $(range 198.51.100. 20 33) &
visitors users 185 0.5 http://10.20.0.80/1.html "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" $(range 198.51.100. 34 47) &
visitors users 185 0.7 http://10.20.0.80/0.2.html "Mozilla/5.0 (X11; Linux x86_64) Chrome/118.0" $(range 198.51.100. 48 60) &
sleep 150
visitors botnet 30 0.1 http://10.20.0.80/0.2.html "collector/1.0" $(range 203.0.113. 20 79)
sleep 6
recorded
