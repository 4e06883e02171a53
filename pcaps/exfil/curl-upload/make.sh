#!/bin/bash
# Three days of a host that fetches a page two or three times an hour and sends 12 MB to its
# backup (198.51.100.77, scp) each night; then, on the fourth day at 10:00, curl
# uploads 40 MB from it to 203.0.113.66:8080, which nobody ever spoke to. The days
# are played in minutes (see hours.py); segmentation offload is on, so a frame may
# be 64 kB long; tcpdump keeps 96 bytes of it.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside thief 203.0.113.66
outside sites $(range 198.51.100. 20 27)
outside backup 198.51.100.77
inside pcs 10.20.0.66
web sites 80
ssh_server backup
on thief /usr/bin/python3 "$pcaps_dir/sink.py" 8080 &
head -c 12000000 /dev/urandom >"$tmp/night"
head -c 40000000 /dev/urandom >"$tmp/loot"
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments" "$tmp"
hours
