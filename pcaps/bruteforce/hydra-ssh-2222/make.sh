#!/bin/bash
# hydra guesses the password of one user over SSH at port 2222, which no configuration names.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.22
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
printf 'Port 2222\nHostKey %s\nPidFile %s\nUsePAM no\nPasswordAuthentication yes\nPermitRootLogin yes\n' $tmp/host $tmp/pid >$tmp/sshd
mkdir -p /run/sshd
ip netns exec "$net-server" /usr/sbin/sshd -D -f $tmp/sshd &
sleep 1
seq -f 'secret%g' 1 200 >$tmp/words
record router wan -s 128
cd $tmp
on attacker timeout 80 hydra -t 10 -s 2222 -l root -P $tmp/words -I ssh://10.20.0.22 >$tmp/hydra.log 2>&1 || true; tail -3 $tmp/hydra.log >&2
recorded
