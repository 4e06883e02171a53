#!/bin/bash
# Insertion (Ptacek and Newsham, 1998): each request to a web server is sent in pieces of which one overlaps the one before with other
# content and reaches beyond it, by scapy. The server takes what came first.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80
drops attacker output tcp flags rst
record router wan
on attacker /usr/bin/python3 - <<'PY'
import time
from scapy.all import IP, TCP, conf, send, sr1
conf.verb = 0
for i in range(12):
    sport, seq = 20000 + i, 1000
    ip = IP(dst="10.20.0.10")
    r = sr1(ip / TCP(sport=sport, dport=80, flags="S", seq=seq), timeout=2)
    ack = r[TCP].seq + 1
    def piece(at, text, flags="PA"):
        send(ip / TCP(sport=sport, dport=80, flags=flags, seq=seq + 1 + at, ack=ack) / text)
    piece(0, b"", "A")
    piece(0, b"GET /1.html")
    time.sleep(0.05)
    piece(5, b"XXXXXXX HTTP/1.0\r\n")
    time.sleep(0.05)
    piece(11, b" HTTP/1.0\r\n\r\n")
    time.sleep(0.3)
PY
recorded
