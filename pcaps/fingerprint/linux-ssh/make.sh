#!/bin/bash
# A real client as a label: OpenSSH on Linux 6.18 towards a port without a server, and
# netcat.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
on client nc -nz -w 2 10.20.0.10 80
on client ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=3 root@10.20.0.10 true || true
recorded
