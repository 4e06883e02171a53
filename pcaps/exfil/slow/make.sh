#!/bin/bash
# Three days of a host that fetches a page two or three times an hour; on the third, 2 MB
# at a time go to 203.0.113.66:8080 by curl, two an hour for 20 hours: never as
# much as a mail with attachments in an hour. The days are played in minutes (see
# hours.py); segmentation offload is on; tcpdump keeps 96 bytes.
LAB_OFFLOAD=on
. "$(dirname "$0")/../../lab.sh"; lab
outside thief 203.0.113.66
outside sites $(range 198.51.100. 20 27)
inside pcs 10.20.0.66
web sites 80
on thief /usr/bin/python3 "$pcaps_dir/sink.py" 8080 &
head -c 2000000 /dev/urandom >"$tmp/loot"
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments" "$tmp"
hours
