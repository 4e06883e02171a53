# What cases share whose time is stretched (stretch.py). Source it after lab.sh.

# pace FACTOR: from now on a second of the recording stands for so many.
pace() { echo "$(date +%s.%N) $1" >>"$tmp/phases"; }

# stretched: stop recording, give it the pace of life, and keep it.
stretched() {
	sleep "${LAB_TAIL:-1}"
	kill $tcpdump_pid; wait $tcpdump_pid || true
	/usr/bin/python3 "$pcaps_dir/stretch.py" "$tmp/in.pcap" "$tmp/phases" "$tmp/out.pcap"
	keep "$tmp/out.pcap"
	grep -E 'captured|dropped by kernel' "$tmp/tcpdump.log" >&2
}

# many HOST ADDRESS...: connections that HOST opens to port 80 come from one address after the other.
many() {
	local h=$1 pool= i=0 a
	shift
	for a; do pool="$pool $i : $a,"; i=$((i + 1)); done
	on "$h" nft add table ip many
	on "$h" nft add chain ip many out "{ type nat hook postrouting priority 100; }"
	on "$h" nft add rule ip many out tcp dport 80 snat to numgen inc mod $# map "{ $pool }"
}
