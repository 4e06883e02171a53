#!/bin/bash
# arp-scan of the own LAN, recorded at the scanner's switch port: 20 hosts answer.
. "$(dirname "$0")/../../lab.sh"; lab
inside intruder 10.20.0.66
inside farm $(range 10.20.0. 20 39)
record router intruder
on intruder arp-scan --interface=eth0 --retry=1 --interval=10 10.20.0.0/24
recorded
