#!/bin/bash
# A real client as a label: curl on Linux 6.18, kernel defaults.
LAB_DELAY_MS=12
. "$(dirname "$0")/../../lab.sh"; lab
outside client 198.51.100.23
inside server 10.20.0.10
web server 80 443
record router wan
for i in 1 2 3 4; do on client curl -s -o /dev/null http://10.20.0.10/4.html; done
recorded
