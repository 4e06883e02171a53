#!/bin/bash
# hydra guesses passwords over FTP, eight connections at a time.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.21
ftpd() { # HOST: vsftpd, whose users do not exist: every guess is wrong.
	printf "%s\n" listen=YES anonymous_enable=NO local_enable=YES secure_chroot_dir=/var/run/vsftpd/empty background=NO \
		"$@" >$tmp/vsftpd.conf
	mkdir -p /var/run/vsftpd/empty
	ip netns exec "$net-server" /usr/sbin/vsftpd $tmp/vsftpd.conf &
	sleep 0.5
}
ftpd
seq -f 'secret%g' 1 150 >$tmp/words
record router wan
cd $tmp
on attacker timeout 100 hydra -t 8 -l backup -P $tmp/words -I ftp://10.20.0.21 >/dev/null || true
recorded
