#!/bin/bash
# A file of 4 kB leaves by names, without any tool but dig: 25 bytes a question in
# base32, one every 20 s for an hour, to the resolver 198.51.100.53 of the outside,
# which knows any name below drop.example.net. That is 1.25 bytes a second, with
# 40 characters of 5 bits. The hour is played in minutes (see hours.py).
. "$(dirname "$0")/../../lab.sh"; lab
outside evil 198.51.100.53
inside pc 10.20.0.66
resolver evil
record router wan
/usr/bin/python3 "$case_dir/play.py" "$net" "$tmp/moments"
hours
