#!/bin/bash
# Two days of a host that fetches a page two or three times an hour and sends 12 MB to its backup (198.51.100.77, scp)
# each night; then, on the third day at 10:00, curl uploads 30 MB from it in five parts to five addresses of one network
# (203.0.113.70-74, AS64500 in XA by origins.mmdb), with which nobody ever spoke. The days are played in minutes (see
# hours.py); segmentation offload is on; tcpdump keeps 96 bytes of each frame.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside cloud $(range 203.0.113. 70 74)
outside sites $(range 198.51.100. 20 27)
outside backup 198.51.100.77
inside pcs 10.20.0.66
web sites 80
ssh_server backup
on cloud /usr/bin/python3 "$pcaps_dir/sink.py" 8080 &
head -c 12000000 /dev/urandom >"$tmp/night"
head -c 6000000 /dev/urandom >"$tmp/part"
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments" "$tmp"
hours
