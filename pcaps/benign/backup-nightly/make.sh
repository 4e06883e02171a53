#!/bin/bash
# Four days of a file server: each night at 02:00 scp takes 15 MB to the backup
# 198.51.100.77, and two or three times an hour it fetches a page; three hosts send 1.5 MB to one
# outside store at noon (curl). Twice as much goes to the backup in the last night.
# The days are played in minutes (see hours.py); segmentation offload is on;
# tcpdump keeps 96 bytes.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside sites $(range 198.51.100. 20 27)
outside backup 198.51.100.77
outside store 198.51.100.90
inside pcs $(range 10.20.0. 20 22)
inside files 10.20.0.30
web sites 80
ssh_server backup
on store /usr/bin/python3 "$pcaps_dir/sink.py" 8080 &
head -c 15000000 /dev/urandom >"$tmp/night"
head -c 1500000 /dev/urandom >"$tmp/noon"
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments" "$tmp"
hours
