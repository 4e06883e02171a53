#!/bin/bash
# A user mistypes his password three times over SSH, thrice in a row, then gets in by key; another one does so over FTP and at a
# page behind basic authentication.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside user 198.51.100.14
inside server 10.20.0.22
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
ssh-keygen -q -t ed25519 -N "" -f $tmp/user
cp $tmp/user.pub $tmp/authorized
printf 'HostKey %s\nPidFile %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPasswordAuthentication yes\nPermitRootLogin yes\n' \
	$tmp/host $tmp/pid $tmp/authorized >$tmp/sshd
mkdir -p /run/sshd /var/run/vsftpd/empty
ip netns exec "$net-server" /usr/sbin/sshd -D -f $tmp/sshd &
printf '%s\n' listen=YES anonymous_enable=NO local_enable=YES secure_chroot_dir=/var/run/vsftpd/empty background=NO >$tmp/vsftpd.conf
ip netns exec "$net-server" /usr/sbin/vsftpd $tmp/vsftpd.conf &
ip netns exec "$net-server" /usr/bin/python3 $pcaps_dir/form.py 80 &
sleep 1
printf '#!/bin/sh\necho wrong$$\n' >$tmp/ask; chmod 755 $tmp $tmp/ask
key="-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
record router wan
for i in 1 2 3; do
	SSH_ASKPASS=$tmp/ask SSH_ASKPASS_REQUIRE=force DISPLAY=:0 on user ssh $key -o NumberOfPasswordPrompts=3 -o PubkeyAuthentication=no root@10.20.0.22 true </dev/null || true
	sleep 2
done
on user ssh $key -i $tmp/user root@10.20.0.22 'ls -lR /etc | head -300' >/dev/null
for i in 1 2 3; do on user curl -s -u backup:wrong$i ftp://10.20.0.22/ >/dev/null || true; sleep 1; done
for i in 1 2 3; do on user curl -s -o /dev/null -u admin:wrong$i http://10.20.0.22/private; sleep 2; done
for i in $(seq 20); do on user curl -s -o /dev/null -u admin:right http://10.20.0.22/private; sleep 0.2; done
recorded
