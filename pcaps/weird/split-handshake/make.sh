#!/bin/bash
# A server answers each SYN with a bare SYN of its own, and so makes the client answer (split handshake), by scapy.
. "$(dirname "$0")/../../lab.sh"; lab
outside server 203.0.113.66
inside client 10.20.0.10
web client 8080
drops server output tcp flags rst
record router wan
ip netns exec "$net-server" timeout 30 /usr/bin/python3 - <<'PY' &
import time
from scapy.all import IP, TCP, AsyncSniffer, send
def answer(p):
    if p[TCP].flags == "S" and p[IP].dst == "203.0.113.66":
        send(IP(src="203.0.113.66", dst=p[IP].src) / TCP(sport=p[TCP].dport, dport=p[TCP].sport, flags="S", seq=7000, window=4128), verbose=False)
s = AsyncSniffer(iface="eth0", filter="tcp and dst host 203.0.113.66", prn=answer)
s.start()
time.sleep(28)
PY
sleep 3
for _ in $(seq 14); do on client curl -s -o /dev/null --max-time 1 http://203.0.113.66/ || true; sleep 0.2; done
recorded
