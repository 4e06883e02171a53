#!/bin/bash
# A second dnsmasq begins to answer DHCP questions in a network that has one: clients get offers of both. Recorded at the switch port
# of the clients, which are played by scapy.
. "$(dirname "$0")/../../lab.sh"; lab
inside server 10.20.0.2
inside rogue 10.20.0.66
inside client 10.20.0.10
dhcp() { # NAME FIRST LAST
	ip netns exec "$net-$1" dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --no-ping --interface=eth0 --bind-interfaces \
		--dhcp-range="10.20.0.$2,10.20.0.$3,2m" --dhcp-leasefile="$tmp/$1.leases" --pid-file="$tmp/$1.pid" --user=root >/dev/null 2>&1 &
}
dhcp server 100 120
sleep 1
record client eth0
{ sleep 5; dhcp rogue 150 180; wait; } &
on client /usr/bin/python3 - <<'PY'
import time
from scapy.all import BOOTP, DHCP, Ether, IP, UDP, sendp
for i in range(20):
    mac = "02:00:00:00:01:%02x" % i
    sendp(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
          BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=1000 + i, flags=0x8000) /
          DHCP(options=[("message-type", "discover"), "end"]), iface="eth0", verbose=False)
    time.sleep(0.7)
PY
recorded
