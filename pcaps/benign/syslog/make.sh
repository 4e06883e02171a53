#!/bin/bash
# Eight devices send syslog by UDP to an inside collector: 400 messages each, and
# nobody ever answers.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside devices $(range 198.51.100. 20 27)
inside collector 10.20.0.51
ip netns exec "$net-collector" nc -luk 514 >/dev/null &
record router wan
on devices /usr/bin/python3 -c '
import socket, time
socks = []
for n in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("198.51.100.%d" % (20 + n), 514))
    socks.append(s)
for i in range(400):
    for n, s in enumerate(socks):
        s.sendto(b"<134>Nov 20 12:00:00 sw%d port %d: link state message %d" % (n, i % 48, i), ("10.20.0.51", 514))
    time.sleep(0.05)'
recorded
