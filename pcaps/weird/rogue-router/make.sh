#!/bin/bash
# A machine advertises itself as an IPv6 router in a network that has one: each sends an advertisement every few seconds, by scapy.
. "$(dirname "$0")/../../lab.sh"; lab
inside gateway 10.20.0.2
inside rogue 10.20.0.66
inside client 10.20.0.10
for h in gateway rogue client; do
	on $h sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0
done
sleep 2
advertise() { # HOST TIMES LIFETIME
	ip netns exec "$net-$1" /usr/bin/python3 - "$2" "$3" <<'PY'
import sys, time
from scapy.all import Ether, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6, get_if_hwaddr, in6_getifaddr, sendp
src = [a for a, scope, i in in6_getifaddr() if i == "eth0" and a.startswith("fe80")][0]
mac = get_if_hwaddr("eth0")
for _ in range(int(sys.argv[1])):
    sendp(Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=src, dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=int(sys.argv[2])) /
          ICMPv6NDOptSrcLLAddr(lladdr=mac) / ICMPv6NDOptPrefixInfo(prefix="fd00:20::", prefixlen=64), iface="eth0", verbose=False)
    time.sleep(2)
PY
}
record client eth0
advertise gateway 12 1800 & a=$!
sleep 5
advertise rogue 8 9000 & b=$!
wait $a $b || true
recorded
