#!/bin/bash
# A load balancer checks twelve backends every second: TCP connect, then a request
# of its health page. On one backend the service is stopped for 20 seconds, on
# another the firewall is silent for ten.
. "$(dirname "$0")/../../lab.sh"; lab
inside backends $(range 10.20.0. 20 31)
outside balancer 203.0.113.7
web backends 8080
on backends nft add table ip guard
on backends nft add chain ip guard input '{ type filter hook input priority 0; }'
record router wan -s 96
for t in $(seq 1 45); do
	case $t in
	10) on backends nft add rule ip guard input ip daddr 10.20.0.25 tcp dport 8080 reject with tcp reset ;;
	20) on backends nft add rule ip guard input ip daddr 10.20.0.28 tcp dport 8080 drop ;;
	30) on backends nft flush chain ip guard input ;;
	esac
	for b in $(range 10.20.0. 20 31); do
		on balancer curl -s --max-time 1 -o /dev/null http://$b:8080/0.2.html &
	done
	sleep 0.9
done
recorded
