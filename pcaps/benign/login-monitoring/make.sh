#!/bin/bash
# A load balancer inside logs in to an FTP server (anonymous) every two seconds for two and a half minutes, to see whether it answers (recorded
# inside). Its session takes a few milliseconds.
. "$(dirname "$0")/../../lab.sh"; lab
inside balancer 10.20.0.5
inside server 10.20.0.21
printf '%s\n' listen=YES anonymous_enable=YES local_enable=NO anon_root=/var/run/vsftpd/empty secure_chroot_dir=/var/run/vsftpd/empty background=NO >$tmp/vsftpd.conf
mkdir -p /var/run/vsftpd/empty
ip netns exec "$net-server" /usr/sbin/vsftpd $tmp/vsftpd.conf &
sleep 1
record server eth0
# By the clock, as such programs do it.
/usr/bin/python3 -c 'import time
while True: print(flush=True); time.sleep(2 - time.time() % 2)' | for i in $(seq 76); do read x; on balancer curl -s -m 2 --head ftp://10.20.0.21/ >/dev/null || true; done
recorded
