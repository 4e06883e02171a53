#!/bin/bash
# Thirty users behind one address, with User-Agents of their own, each of whom loads a page and its parts over one connection, reads,
# and loads the next; a page that talks to its server by POST.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside nat 198.51.100.30
inside server 10.20.0.80
ip netns exec "$net-server" /usr/bin/python3 $pcaps_dir/form.py 80 &
sleep 1
record router wan -s 400
u=http://10.20.0.80
for round in 1 2; do
	for n in $(seq 30); do
		on nat curl -s -A "Mozilla/5.0 (X11; Linux x86_64; rv:$((90 + n)).0) Gecko Firefox/$((90 + n)).0" $u/page$n $u/page-a$n $u/page-b$n $u/page-c $u/page-d $u/page-e $u/favicon.ico >/dev/null &
		sleep 0.4
	done
done
for i in $(seq 60); do echo "next"; echo "url = $u/api"; echo "data = $(head -c $((i * 7 % 90)) /dev/zero | tr '\0' x)x"; done | sed 1d >$tmp/posts
on nat curl -s -A "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" $u/page $u/page1 $u/page2 $u/page3 $u/page4 $u/page5 $u/page6 >/dev/null
on nat curl -s -A "Mozilla/5.0 (X11; Linux x86_64) Chrome/119.0" -K $tmp/posts >/dev/null
recorded
