#!/bin/bash
# The telnet search of the Mirai family: port 23 (every tenth probe 2323), one SYN
# an address, the sequence number equal to the destination address. hping3 sends
# what the bot would. Six of 96 addresses exist; telnet is closed there.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside bot 203.0.113.77
inside farm $(range 10.20.0. 20 25)
drops router output icmp type destination-unreachable
record router wan
for i in $(seq 0 95); do
	a=$(((i * 37 + 11) % 250 + 2)); port=23; [ $((i % 10)) = 9 ] && port=2323
	on bot hping3 -q -n -S -c 1 -p $port -s $((1024 + (i * 7919) % 60000)) \
		-M $(((10 << 24) + (20 << 16) + a)) -w $((1000 + (i * 977) % 60000)) 10.20.0.$a >/dev/null 2>&1 &
	p=$!; sleep 0.12; kill $p 2>/dev/null || true
done
recorded
