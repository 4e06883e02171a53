#!/bin/bash
# nmap with one probe a second (--scan-delay 1s): 40 ports of one server that
# drops the half of them in silence. Times are the real ones.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside attacker 198.51.100.23
inside server 10.20.0.10
web server 80
drops server input tcp dport 1024-65535
record router wan
on attacker nmap -n -Pn -sS --scan-delay 1s --max-scan-delay 1s --max-retries 0 --top-ports 40 10.20.0.10
LAB_TAIL=6 recorded
