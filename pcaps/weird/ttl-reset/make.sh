#!/bin/bash
# Somebody near the site resets connections in the name of the server, as censors and attackers on the path do: RST with the right
# number and another hop limit than the server's, by scapy on the router.
. "$(dirname "$0")/../../lab.sh"; lab
inside client 10.20.0.10
outside server 203.0.113.80
web server 80
drops router input tcp dport 9
record router wan
ip netns exec "$net-isp" timeout 30 /usr/bin/python3 - <<'PY' &
import time
from scapy.all import IP, TCP, AsyncSniffer, send
def answer(p):
    if p[TCP].flags == "PA" and p[TCP].dport == 80:
        send(IP(src="203.0.113.80", dst=p[IP].src, ttl=200) / TCP(sport=80, dport=p[TCP].sport, flags="R", seq=p[TCP].ack), verbose=False)
s = AsyncSniffer(iface="wan", filter="tcp and dst port 80", prn=answer)
s.start()
time.sleep(28)
PY
sleep 3
for _ in $(seq 40); do on client curl -s -o /dev/null --limit-rate 20k --max-time 0.4 http://203.0.113.80/300.html || true; done
recorded
