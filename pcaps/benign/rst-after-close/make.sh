#!/bin/bash
# Resets of everyday life: downloads given up (the client's kernel answers what is
# still on the way with RST), and clients that close with RST (SO_LINGER 0, as
# balancers and browsers do).
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside clients $(range 198.51.100. 20 49)
inside server 10.20.0.10
web server 80
record router wan -s 96
for n in $(seq 1 120); do
	on clients curl -s -o /dev/null --max-time 0.1 --interface 198.51.100.$((20 + n % 30)) http://10.20.0.10/300.html || true
done
on clients /usr/bin/python3 -c '
import socket, struct, time
for n in range(250):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.bind(("198.51.100.%d" % (20 + n % 30), 0))
    s.connect(("10.20.0.10", 80))
    s.sendall(b"GET /1.html HTTP/1.1\r\nHost: a\r\n\r\n")
    s.recv(4096)
    s.close()
    time.sleep(0.01)'
recorded
