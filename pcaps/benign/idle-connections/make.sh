#!/bin/bash
# An application keeps 80 connections to a database (redis): a few commands each at
# first, answered, then next to nothing for 50 seconds; and 40 HTTP connections
# kept alive by clients that say nothing more.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside app 198.51.100.40
inside db 10.20.0.63
ip netns exec "$net-db" redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save "" --dir $tmp --daemonize no >/dev/null &
web db 80
record router wan -s 128
for n in $(seq 80); do
	{ printf 'SET k%s %s\r\nGET k%s\r\nINFO\r\n' $n $n $n; sleep $((20 + n % 7)); printf 'PING\r\n'; sleep 28; } |
		on app timeout 60 nc -N 10.20.0.63 6379 >/dev/null &
	workers="${workers:-} $!"
done
for n in $(seq 40); do
	{ printf 'GET /4.html HTTP/1.1\r\nHost: a\r\n\r\n'; sleep 48; } | on app timeout 60 nc -N 10.20.0.63 80 >/dev/null &
	workers="$workers $!"
done
wait $workers || true
recorded
