#!/bin/bash
# hydra guesses at HTTP basic authentication (401).
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.80
ip netns exec "$net-server" /usr/bin/python3 $pcaps_dir/form.py 80 &
sleep 1
seq -f 'secret%g' 1 80 >$tmp/words
record router wan
cd $tmp
on attacker timeout 60 hydra -t 4 -l admin -P $tmp/words -I 10.20.0.80 http-get /private >/dev/null || true
recorded
