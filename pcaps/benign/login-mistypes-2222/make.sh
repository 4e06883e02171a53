#!/bin/bash
# A user mistypes his password three times over SSH at port 2222, thrice in a row, then gets in by key and comes back a few times.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside user 198.51.100.14
inside server 10.20.0.22
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
ssh-keygen -q -t ed25519 -N "" -f $tmp/user
cp $tmp/user.pub $tmp/authorized
printf 'Port 2222\nHostKey %s\nPidFile %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPasswordAuthentication yes\nPermitRootLogin yes\n' \
	$tmp/host $tmp/pid $tmp/authorized >$tmp/sshd
mkdir -p /run/sshd
ip netns exec "$net-server" /usr/sbin/sshd -D -f $tmp/sshd &
sleep 1
printf '#!/bin/sh\necho wrong$$\n' >$tmp/ask; chmod 755 $tmp $tmp/ask
key="-q -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
record router wan -s 128
for i in 1 2 3; do
	SSH_ASKPASS=$tmp/ask SSH_ASKPASS_REQUIRE=force DISPLAY=:0 on user ssh $key -o NumberOfPasswordPrompts=3 -o PubkeyAuthentication=no root@10.20.0.22 true </dev/null || true
	sleep 2
done
for n in 40 300 120; do on user ssh $key -i $tmp/user root@10.20.0.22 "ls -lR /etc | head -$n" >/dev/null; sleep 1; done
recorded
