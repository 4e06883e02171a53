#!/bin/bash
# Half a day of what programs do by the clock: six hosts ask one server for
# updates every 20 min; one keeps time with two NTP servers (a question each
# 64 s); one looks for mail every 5 min (port 993); one keeps two push
# connections alive (40 bytes each 45 s); and a monitor fetches a page of six
# outside servers every 20 min. The hours are played in minutes (see hours.py);
# tcpdump keeps 96 bytes. Nothing here is a beacon.
LAB_DELAY_MS=5
. "$(dirname "$0")/../../lab.sh"; lab
outside servers 198.51.100.20 198.51.100.30 198.51.100.40 198.51.100.50 198.51.100.51
outside watched $(range 203.0.113. 20 25)
inside pcs $(range 10.20.0. 20 29)
web servers 80
web watched 80
on servers /usr/bin/python3 "$pcaps_dir/parrot.py" 123 443 993 5228 &
sleep 0.5
record router wan -s 96
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
