#!/bin/bash
# medusa guesses passwords over FTP, one connection at a time.
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
seq -f 'secret%g' 1 70 >$tmp/words
record router wan
on attacker timeout 200 medusa -h 10.20.0.21 -u backup -P $tmp/words -M ftp -t 2 >/dev/null || true
recorded
