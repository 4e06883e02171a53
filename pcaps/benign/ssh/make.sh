#!/bin/bash
# SSH from outside: an interactive session (keystrokes), twelve short commands, scp
# both ways, and a session that idles.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside admin 198.51.100.14
inside server 10.20.0.22
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
ssh-keygen -q -t ed25519 -N "" -f $tmp/user
cp $tmp/user.pub $tmp/authorized; chmod 600 $tmp/authorized
printf 'Port 22\nHostKey %s\nPidFile %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n' \
	$tmp/host $tmp/pid $tmp/authorized >$tmp/sshd
mkdir -p /run/sshd
ip netns exec "$net-server" /usr/sbin/sshd -D -e -f $tmp/sshd 2>/dev/null &
sleep 1
key="-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -i $tmp/user"
head -c 700000 /dev/urandom >$tmp/file
record router wan -s 128
{ sleep 25; } | on admin ssh $key root@10.20.0.22 cat >/dev/null &
idle=$!
{ for i in $(seq 6); do for k in l s ' ' - l ' ' /; do printf %s "$k"; sleep 0.13; done; echo; sleep 1; done; echo exit; } |
	on admin ssh -tt $key root@10.20.0.22 sh >/dev/null || true
for i in $(seq 12); do on admin ssh $key root@10.20.0.22 true; sleep 0.4; done
on admin scp $key $tmp/file root@10.20.0.22:$tmp/up
on admin scp $key root@10.20.0.22:$tmp/up $tmp/down
wait $idle
recorded
