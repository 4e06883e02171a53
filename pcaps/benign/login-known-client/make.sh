#!/bin/bash
# A server that only administrators use: OpenSSH from two addresses, every five seconds for a minute and a half. Then
# the same program comes from an address that was never seen: a login, and scp.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside admins 198.51.100.14 198.51.100.15
outside travelling 203.0.113.9
inside server 10.20.0.22
password_server server
record router wan
for i in $(seq 16); do
	on admins ssh -q -b 198.51.100.$((14 + i % 2)) -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i $tmp/user root@10.20.0.22 true
	sleep 5
done
by_key travelling 10.20.0.22 true
sleep 1
head -c 20000 /dev/urandom >$tmp/file
on travelling scp -q -i $tmp/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null $tmp/file root@10.20.0.22:/dev/null
recorded
