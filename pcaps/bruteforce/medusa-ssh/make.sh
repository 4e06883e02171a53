#!/bin/bash
# medusa guesses passwords of two users over SSH, two connections at a time.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.22
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
printf 'HostKey %s\nPidFile %s\nUsePAM no\nPasswordAuthentication yes\nPermitRootLogin yes\n' $tmp/host $tmp/pid >$tmp/sshd
mkdir -p /run/sshd
ip netns exec "$net-server" /usr/sbin/sshd -D -f $tmp/sshd &
sleep 1
seq -f 'secret%g' 1 60 >$tmp/words
printf 'root\nadmin\n' >$tmp/users
record router wan -s 128
on attacker timeout 150 medusa -h 10.20.0.22 -U $tmp/users -P $tmp/words -M ssh -t 2 >/dev/null || true
recorded
