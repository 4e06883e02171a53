#!/bin/bash
# rsync of a folder of 200 files from an outside daemon, then again with nothing
# to do, then one changed file.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside server 203.0.113.20
inside client 10.20.0.31
mkdir -p $tmp/src
for n in $(seq 200); do head -c $((n * 60)) /dev/urandom >$tmp/src/f$n; done
printf 'use chroot = no\nuid = root\ngid = root\npid file = %s/pid\nlog file = %s/log\n[data]\npath = %s/src\n' $tmp $tmp $tmp >$tmp/conf
ip netns exec "$net-server" rsync --daemon --no-detach --config=$tmp/conf &
sleep 1
record router wan -s 96
on client rsync -a rsync://203.0.113.20/data/ $tmp/dst/
on client rsync -a rsync://203.0.113.20/data/ $tmp/dst/
echo more >>$tmp/src/f7
on client rsync -a rsync://203.0.113.20/data/ $tmp/dst/
recorded
