#!/bin/bash
# UDP from 127.0.0.9, 240.1.2.3 and 224.0.0.9 to one host, ten packets a second for 14 seconds, by scapy.
. "$(dirname "$0")/../../lab.sh"; lab
inside attacker 10.20.0.66
inside victim 10.20.0.10
record victim eth0
on attacker /usr/bin/python3 - <<'PY'
import time
from scapy.all import IP, UDP, Ether, getmacbyip, sendp
l2 = Ether(dst=getmacbyip("10.20.0.10"))
for i in range(140):
    sendp(l2 / IP(src=["127.0.0.9", "240.1.2.3", "224.0.0.9"][i % 3], dst="10.20.0.10") / UDP(sport=5000 + i, dport=161) / b"\x30\x00",
          iface="eth0", verbose=False)
    time.sleep(0.1)
PY
recorded
