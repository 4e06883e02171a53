#!/bin/bash
# A probe outside sends its measurements to 10.20.0.10:5201 (iperf3: 12 messages
# of 200 bytes a second) for eleven and a half minutes, and others ask a second
# server now and then. Then something throttles the probe to a tenth, for a
# minute and a half. Played three times as fast (see stretch.py).
LAB_DELAY_MS=20
. "$(dirname "$0")/../../lab.sh"; lab
. "$pcaps_dir/stretch.sh"
outside probe 203.0.113.20
outside crowd $(range 198.51.100. 20 39)
inside server 10.20.0.10
inside other 10.20.0.11
web other 80
on server iperf3 -s >/dev/null &
sleep 0.5
record router wan -s 96
pace 3
on crowd /usr/bin/python3 "$pcaps_dir/visitors.py" http://10.20.0.11/0.2.html 198.51.100.20 20 0.6 258 &
on probe iperf3 -c 10.20.0.10 -b 57600 -l 200 -t 230 --pacing-timer 1000 -N >/dev/null
on probe iperf3 -c 10.20.0.10 -b 4000 -l 200 -t 28 --pacing-timer 1000 -N >/dev/null
stretched
