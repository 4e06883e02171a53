#!/bin/bash
# Two days of a host that fetches a page two or three times an hour and sends 6 MB to a store (203.0.113.60-69, AS64500
# in XA by origins.mmdb) at 10:00 and 16:00, each time to another address. Then, on the third day at 10:00, curl uploads
# 30 MB from it in five parts to five addresses of that network which it never used. The days are played in minutes (see
# hours.py); segmentation offload is on; tcpdump keeps 96 bytes of each frame.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside cloud $(range 203.0.113. 60 74)
outside sites $(range 198.51.100. 20 27)
inside pcs 10.20.0.66
web sites 80
on cloud /usr/bin/python3 "$pcaps_dir/sink.py" 8080 &
head -c 6000000 /dev/urandom >"$tmp/part"
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments" "$tmp"
hours
