#!/bin/bash
# Twelve clients fetch a page from one web server, one each second or so, for
# four minutes. From the fourth on one more does, every second, who is 300 ms
# away there and back (see delay.py). Nothing of it is stretched.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside crowd $(range 198.51.100. 20 31)
space far
/usr/bin/python3 "$pcaps_dir/delay.py" "$net-isp" "$net-far" away 150 &
for _ in 1 2 3 4 5 6 7 8 9 10; do on far ip link show away >/dev/null 2>&1 && break; sleep 0.2; done
on isp ip link set away master out up
on far ip link set away up
on far ip addr add 203.0.113.20/24 dev away
on far ip route add default via 203.0.113.1
inside server 10.20.0.10
web server 80
record router wan -s 96
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 12 1.2 235 &
sleep 200
on far /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 203.0.113.20 1 1 35
recorded
