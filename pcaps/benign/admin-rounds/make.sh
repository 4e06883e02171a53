#!/bin/bash
# An administrator looks with nmap which of three services run on his 24 servers (all of them but two, which refuse),
# mistypes his password once, gets into one of them by key, and from there asks two other servers and an outside one
# whether they answer.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; . $pcaps_dir/sshd.sh; lab
outside admin 198.51.100.14
outside mirror 203.0.113.80
inside server 10.20.0.22
inside farm $(range 10.20.0. 30 53)
password_server server
web farm 22 80 443
web mirror 80
on farm nft add table ip guard
on farm nft add chain ip guard input '{ type filter hook input priority 0; }'
on farm nft add rule ip guard input ip daddr '{ 10.20.0.33, 10.20.0.47 }' tcp dport 443 reject with tcp reset
record router wan -s 128
on admin nmap -n -Pn -sT -p 22,80,443 10.20.0.30-53 >/dev/null
sleep 2
mistyped admin 10.20.0.22
by_key admin 10.20.0.22 'for i in 1 2 3 4 5; do for h in 10.20.0.30 10.20.0.31 203.0.113.80; do curl -s -m 3 -o /dev/null http://$h/1.html; sleep 0.5; done; done'
recorded
