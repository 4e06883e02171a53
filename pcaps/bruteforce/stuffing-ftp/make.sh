#!/bin/bash
# 180 addresses try two stolen passwords each over FTP (curl): many sources, few tries, one client.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside botnet $(range 203.0.113. 20 199)
inside server 10.20.0.21
ftpd() { # HOST: vsftpd, whose users do not exist: every guess is wrong.
	printf "%s\n" listen=YES anonymous_enable=NO local_enable=YES secure_chroot_dir=/var/run/vsftpd/empty background=NO \
		"$@" >$tmp/vsftpd.conf
	mkdir -p /var/run/vsftpd/empty
	ip netns exec "$net-server" /usr/sbin/vsftpd $tmp/vsftpd.conf &
	sleep 0.5
}
ftpd max_clients=500 max_login_fails=1 delay_failed_login=1
record router wan -s 128
for n in $(seq 20 199) $(seq 20 199); do echo $n; done | xargs -P 12 -I{} ip netns exec "$net-botnet" \
	timeout 10 curl -s --interface 203.0.113.{} -u user{}:stolen{} ftp://10.20.0.21/ >/dev/null || true
recorded
