#!/bin/bash
# FTP: 60 small files fetched and 10 stored, passive mode: as many data connections
# to as many high ports of one server. Then the active mode, where the server calls.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.14
inside server 10.20.0.21
mkdir -p $tmp/ftp/pub; chmod 755 $tmp $tmp/ftp; chmod 777 $tmp/ftp/pub
for n in $(seq 60); do head -c $((n * 100)) /dev/zero >$tmp/ftp/pub/f$n; done
mkdir -p /var/run/vsftpd/empty
printf '%s\n' listen=YES background=NO anonymous_enable=YES local_enable=NO write_enable=YES anon_upload_enable=YES no_anon_password=YES \
	anon_root=$tmp/ftp seccomp_sandbox=NO pasv_min_port=40000 pasv_max_port=60000 connect_from_port_20=YES >$tmp/conf
ip netns exec "$net-server" vsftpd $tmp/conf &
sleep 1
record router wan -s 128
mkdir $tmp/got
on client lftp -e "set net:timeout 5; set net:max-retries 2; lcd $tmp/got; mirror --parallel=3 pub; bye" ftp://10.20.0.21
for n in 1 2 3 4 5 6 7 8 9 10; do on client curl -s -T $tmp/got/pub/f$n ftp://10.20.0.21/pub/up$n || true; done
for n in 1 2 3 4 5 6 7 8; do on client curl -s -P - -o /dev/null ftp://10.20.0.21/pub/f$n || true; done
recorded
