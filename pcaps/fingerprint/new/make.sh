#!/bin/bash
# A server that only administrators use: OpenSSH from two addresses, every five seconds for a minute and a half. Then
# hydra (libssh) tries one password.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside admins 198.51.100.14 198.51.100.15
outside stranger 203.0.113.9
inside server 10.20.0.22
password_server server
record router wan
for i in $(seq 16); do
	on admins ssh -q -b 198.51.100.$((14 + i % 2)) -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i $tmp/user root@10.20.0.22 true
	sleep 5
done
cd $tmp
on stranger timeout 20 hydra -t 1 -l root -p secret -I ssh://10.20.0.22 >/dev/null 2>&1 || true
recorded
