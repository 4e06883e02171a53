#!/bin/bash
# Twelve clients fetch a page from one web server, one each second or so, for
# three minutes. Then the way takes 300 ms more there and back, for half a minute
# (see delay.py). Nothing of it is stretched.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab; wire=$!
outside crowd $(range 198.51.100. 20 31)
inside server 10.20.0.10
web server 80
record router wan -s 96
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.10/0.2.html 198.51.100.20 12 1.2 210 &
sleep 180
kill -USR1 $wire
sleep 31
recorded
