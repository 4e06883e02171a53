#!/bin/bash
# ffuf looks for paths that are not linked: 400 words, of which five are there.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 203.0.113.9
inside server 10.20.0.80
web server 80
{ printf '%s\n' 0.2.html 1.html 4.html 12.html index.html; seq -f 'hidden%g' 1 395; } >$tmp/words
record router wan -s 512
cd $tmp
on attacker timeout 60 ffuf -s -t 4 -p 0.05 -w $tmp/words -u http://10.20.0.80/FUZZ >/dev/null </dev/null || true
recorded
