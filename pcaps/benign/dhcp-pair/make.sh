#!/bin/bash
# A network with a DHCP server and a failover partner that answers, too, as both are configured to: clients take one offer.
. "$(dirname "$0")/../../lab.sh"; lab
inside one 10.20.0.2
inside two 10.20.0.3
inside client 10.20.0.10
for n in one two; do
	ip netns exec "$net-$n" dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --no-ping --interface=eth0 --bind-interfaces \
		--dhcp-range="10.20.0.100,10.20.0.200,2m" --dhcp-leasefile="$tmp/$n.leases" --pid-file="$tmp/$n.pid" --user=root >/dev/null 2>&1 &
done
sleep 1
record client eth0
on client /usr/bin/python3 - <<'PY'
import time
from scapy.all import BOOTP, DHCP, Ether, IP, UDP, sendp
for i in range(15):
    mac = "02:00:00:00:01:%02x" % i
    sendp(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
          BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=1000 + i, flags=0x8000) /
          DHCP(options=[("message-type", "discover"), "end"]), iface="eth0", verbose=False)
    time.sleep(0.7)
PY
recorded
