#!/bin/bash
# What a victim of NTP reflection sees: datagrams of 440 bytes from port 123 of
# many addresses, nobody having asked. hping3 --rand-source plays the reflectors;
# the contents are not NTP.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
inside victim 10.20.0.10
web victim 80 443
record router wan -s 96
on attacker timeout 12 hping3 -q -n -I eth0 --udp -s 123 -k -p 80 --rand-source -d 440 -i u700 -c 5000 10.20.0.10 >/dev/null 2>&1 || true
recorded
