#!/bin/bash
# An address that moves between two machines, as keepalived moves it: ten times gratuitous ARP by the one that takes over; there,
# and back after a while. Two machines of one name answer nothing else. Recorded at a client's switch port.
. "$(dirname "$0")/../../lab.sh"; lab
inside client 10.20.0.10
inside one 10.20.0.2
inside two 10.20.0.3
own() { on "$1" ip addr add 10.20.0.9/32 dev eth0; on "$1" arping -q -i eth0 -U -c 5 -W 0.05 10.20.0.9 >/dev/null 2>&1 || true; sleep 5
	on "$1" arping -q -i eth0 -U -c 5 -W 0.05 10.20.0.9 >/dev/null 2>&1 || true; }
record client eth0
talk() { for _ in $(seq "$1"); do on client ping -q -c 1 -W 1 10.20.0.9 >/dev/null || true; on client ip neigh flush dev eth0; sleep 1; done; }
own one; talk 8
on one ip addr del 10.20.0.9/32 dev eth0; own two; talk 8
on two ip addr del 10.20.0.9/32 dev eth0; own one; talk 8
recorded
