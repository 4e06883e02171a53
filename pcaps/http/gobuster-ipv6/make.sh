#!/bin/bash
# gobuster looks for paths that are not linked, over IPv6.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab; ipv6_site
outside attacker 203.0.113.9
inside server 10.20.0.80
ipv6 attacker 2001:db8:51::23 2001:db8:51::1
ipv6 server fd00:20::80 fd00:20::1
ip netns exec "$net-server" /usr/bin/python3 -c 'import runpy, socketserver, sys; socketserver.TCPServer.address_family = 10; sys.argv[1:] = ["80"]; runpy.run_path("'$pcaps_dir'/form.py", run_name="__main__")' &
sleep 1
seq -f 'hidden%g' 1 250 >$tmp/words
record router wan -s 512
on attacker timeout 60 gobuster dir -q -t 4 -w $tmp/words -u 'http://[fd00:20::80]/' >/dev/null 2>&1 </dev/null || true
recorded
