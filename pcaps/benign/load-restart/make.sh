#!/bin/bash
# Twenty clients fetch four pages a second from one web server; after four minutes
# it is away for 40 seconds (connections are refused), and all who waited come back
# at once. Played ten times as fast (see stretch.py).
LAB_DELAY_MS=20
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside crowd $(range 198.51.100. 20 39)
inside server 10.20.0.10
inside other 10.20.0.11
web server 80
web other 80
record router wan -s 96
pace 10
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.11/0.2.html 198.51.100.20 20 5 42 &
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 20 24
kill $(cat "$tmp/web-server/pid")
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 10 3
ip netns exec "$net-server" nginx -c "$tmp/web-server/conf" &
sleep 0.3
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 80 1
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 20 20 10
stretched
