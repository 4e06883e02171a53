#!/bin/bash
# What a mail gateway, a virus scanner, browsers and machines of a directory ask
# all at once (the window is an hour), of 198.51.100.53: addresses backwards at four blocklists,
# reverse names, IPv6 nibbles, DKIM and ACME texts, SRV names, hosts of content
# networks with hashes in their names, and file hashes at a reputation service.
# Some 5,000 questions, most of them for names that were never asked before.
. "$(dirname "$0")/../../lab.sh"; lab
outside resolver 198.51.100.53
inside gateway 10.20.0.25
inside pcs 10.20.0.31 10.20.0.32 10.20.0.33
resolver resolver "$(for z in cloudfront.net googlevideo.com mcafee.com akamaiedge.net bigsite.example corp.example; do
	echo "local-zone: $z. redirect"; echo "local-data: '$z. 60 A 203.0.113.7'"; done)"
/usr/bin/python3 "$case_dir/names.py" "$tmp"
record router wan
for f in "$tmp"/names.*; do
	host=${f##*names.}; space=pcs; [ "$host" = 10.20.0.25 ] && space=gateway
	on $space timeout 200 dig -b "$host" @198.51.100.53 +tries=1 +time=2 +short -f "$f" >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
