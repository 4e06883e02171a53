# Set-up shared by every make.sh: a small site behind a router, the outside
# world beyond it, and a mirror port between the two. Source it, as root:
#
#	. "$(dirname "$0")/../../lab.sh"; lab
#
#	outside hosts ── isp ══ wan ══ router ── lan ── inside hosts
#	198.51.100.0/24        ▲      10.20.0.1       10.20.0.0/24
#	203.0.113.0/24         └ the mirror port      fd00:20::/64
#	2001:db8:51::/64
#
# Everything lives in network namespaces of its own, named by this process, so
# that several cases can be made at once. Nothing leaves them. At the end every
# process inside them is ended and they are deleted. LAB_DELAY_MS puts that
# one-way delay on the wan; LAB_OFFLOAD=on leaves segmentation offload on.
set -eu
case_dir=$(cd "$(dirname "$0")" && pwd)
pcaps_dir=$(cd "$case_dir/../.." && pwd)
net=w$$
tmp=$(mktemp -d)
export LC_ALL=C
spaces=
mac=10 # last byte of the next host's MAC address

# on HOST COMMAND...: run it in that host's namespace.
on() { local h=$1; shift; ip netns exec "$net-$h" "$@"; }

# space NAME: a namespace that keeps quiet about IPv6 until asked.
space() {
	ip netns add "$net-$1"
	spaces="$spaces $net-$1"
	on "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
		net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.ip_forward=0
	on "$1" ip link set lo up
}

# plain HOST DEVICE: no offload, so that frames look as they do on a wire.
plain() {
	[ "${LAB_OFFLOAD:-off}" = on ] && return
	on "$1" ethtool -K "$2" tso off gso off gro off tx off rx off sg off >/dev/null 2>&1
}

# lab: the router, the isp, and the two networks.
lab() {
	trap lab_end EXIT
	trap 'exit 1' INT TERM
	space router; space isp
	on router sysctl -qw net.ipv4.ip_forward=1
	on isp sysctl -qw net.ipv4.ip_forward=1
	bridge router lan 02:14:00:00:00:01 10.20.0.1/24
	bridge isp out 02:c6:00:00:00:01 198.51.100.1/24 203.0.113.1/24
	if [ -n "${LAB_DELAY_MS:-}" ]; then
		/usr/bin/python3 "$pcaps_dir/delay.py" "$net-router" "$net-isp" wan "$LAB_DELAY_MS" &
		for _ in 1 2 3 4 5 6 7 8 9 10; do on isp ip link show wan >/dev/null 2>&1 && break; sleep 0.2; done
	else
		on router ip link add wan type veth peer name wan netns "$net-isp"
		plain router wan; plain isp wan
	fi
	on router ip link set wan address 02:c0:00:00:02:02 up
	on isp ip link set wan address 02:c0:00:00:02:01 up
	on router ip addr add 192.0.2.2/30 dev wan
	on isp ip addr add 192.0.2.1/30 dev wan
	on router ip route add default via 192.0.2.1
	on isp ip route add 10.20.0.0/24 via 192.0.2.2
	on isp ip route add blackhole default # spoofed sources: nobody answers for them
	# The way through the internet is nine hops long.
	on isp iptables -w -t mangle -A FORWARD -i out -j TTL --ttl-dec 9
}

# bridge HOST NAME MAC ADDRESS...: a switch with the host's own foot in it.
bridge() {
	local h=$1 b=$2; on "$h" ip link add "$b" address "$3" type bridge mcast_snooping 0; shift 3
	on "$h" ip link set "$b" up
	for a; do on "$h" ip addr add "$a" dev "$b"; done
}

# inside NAME ADDRESS... and outside NAME ADDRESS...: one machine with one or more
# addresses; without a prefix length, /24 is meant.
inside() { machine router lan 10.20.0.1 "$@"; }
outside() { machine isp out "" "$@"; }

machine() {
	local sw=$1 br=$2 gw=$3 h=$4; shift 4
	space "$h"
	mac=$((mac + 1))
	on "$sw" ip link add "$h" type veth peer name eth0 netns "$net-$h"
	plain "$sw" "$h"; plain "$h" eth0
	on "$sw" ip link set "$h" master "$br" up
	on "$h" ip link set eth0 address "$(printf 02:00:00:00:00:%02x $mac)" txqueuelen 5000 up
	[ -n "$gw" ] || case $1 in 198.*) gw=198.51.100.1 ;; *) gw=203.0.113.1 ;; esac
	for a; do echo "addr add ${a%/*}/24 dev eth0"; done | on "$h" ip -batch -
	on "$h" ip route replace default via "$gw" src "${1%/*}"
}

# range PREFIX FIRST LAST: PREFIXn for every n.
range() { local i; for i in $(seq "$2" "$3"); do echo "$1$i"; done; }

# ipv6 HOST ADDRESS GATEWAY: a second leg; "ipv6_site" first, once.
ipv6_site() {
	for h in router isp; do on $h sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
		net.ipv6.conf.lan.disable_ipv6=0 net.ipv6.conf.wan.disable_ipv6=0 net.ipv6.conf.out.disable_ipv6=0 \
		net.ipv6.conf.all.forwarding=1 2>/dev/null || true; done
	on router ip addr add fd00:20::1/64 dev lan nodad
	on router ip addr add 2001:db8:0:2::2/64 dev wan nodad
	on isp ip addr add 2001:db8:51::1/64 dev out nodad
	on isp ip addr add 2001:db8:0:2::1/64 dev wan nodad
	on router ip -6 route add default via 2001:db8:0:2::1
	on isp ip -6 route add fd00:20::/64 via 2001:db8:0:2::2
	on isp ip6tables -w -t mangle -A FORWARD -i out -j HL --hl-dec 9
}
ipv6() {
	on "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_ra=0
	on "$1" ip addr add "$2/64" dev eth0 nodad
	on "$1" ip -6 route add default via "$3"
}

# drops HOST CHAIN RULE...: an nftables rule; CHAIN is input, output or forward.
drops() {
	local h=$1 c=$2; shift 2
	on "$h" nft add table ip guard
	on "$h" nft add chain ip guard "$c" "{ type filter hook $c priority 0; }"
	on "$h" nft add rule ip guard "$c" "$@" drop
}

# web HOST PORT...: nginx with a few files from 200 bytes to 300 kB.
web() {
	local h=$1 d="$tmp/web-$1" p; shift
	mkdir -p "$d/www"
	chmod 755 "$tmp" "$d" "$d/www"
	for p in 0.2 1 4 12 40 90 300; do
		head -c "$(awk "BEGIN{print int($p*1000)}")" /dev/zero | tr '\0' x >"$d/www/$p.html"
	done
	cp "$d/www/4.html" "$d/www/index.html"
	{
		echo "user root; worker_processes 1; pid $d/pid; error_log $d/error.log; daemon off; worker_rlimit_nofile 8192;"
		echo "events { worker_connections 4096; }"
		echo "http { access_log off; client_body_temp_path $d/b; proxy_temp_path $d/p; fastcgi_temp_path $d/f;"
		echo "uwsgi_temp_path $d/u; scgi_temp_path $d/s; types { text/html html; } keepalive_timeout 65;"
		echo "server { root $d/www;"
		for p; do echo "listen $p backlog=4096;"; done
		echo "} }"
	} >"$d/conf"
	on "$h" sysctl -qw net.core.somaxconn=4096
	ip netns exec "$net-$h" nginx -c "$d/conf" &
	sleep 0.5
}

# resolver HOST [LINE...]: unbound that answers for the zones given, and for
# example.net; everything else does not exist.
resolver() {
	local h=$1 d="$tmp/dns-$1" l; shift
	mkdir -p "$d"
	{
		echo "server:"; echo "directory: $d"; echo "chroot: \"\""; echo "username: \"\""; echo "pidfile: $d/pid"
		echo "use-syslog: no"; echo "logfile: $d/log"; echo "interface: 0.0.0.0"; echo "interface-automatic: yes"
		echo "access-control: 0.0.0.0/0 allow"; echo "do-ip6: no"; echo "module-config: iterator"; echo "num-threads: 1"
		echo "local-zone: . static"; echo "local-zone: example.net. redirect"; echo "local-data: \"example.net. A 203.0.113.80\""
		for l; do echo "$l"; done
		echo "remote-control:"; echo "control-enable: no"
	} >"$d/conf"
	ip netns exec "$net-$h" unbound -d -c "$d/conf" &
	sleep 1
}

# ssh_server HOST: sshd on port 22 for $tmp/key, which is made.
ssh_server() {
	local d="$tmp/ssh-$1"
	mkdir -p "$d" /run/sshd
	chmod 755 "$tmp" "$d"
	[ -f "$tmp/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$tmp/key"
	ssh-keygen -q -t ed25519 -N '' -f "$d/host"
	cp "$tmp/key.pub" "$d/authorized"
	printf '%s\n' "HostKey $d/host" "AuthorizedKeysFile $d/authorized" "PidFile $d/pid" "StrictModes no" "PermitRootLogin yes" \
		"UsePAM no" "Subsystem sftp internal-sftp" >"$d/conf"
	ip netns exec "$net-$1" /usr/sbin/sshd -D -f "$d/conf" &
	sleep 0.5
}

# record HOST DEVICE TCPDUMP_ARGUMENT...: start recording. The mirror is
# "record router wan".
record() {
	local h=$1 i=$2; shift 2
	sleep 0.3
	ip netns exec "$net-$h" tcpdump -i "$i" -B 65536 -n -Z root -w "$tmp/in.pcap" "$@" 2>"$tmp/tcpdump.log" &
	tcpdump_pid=$!
	for _ in $(seq 50); do grep -q listening "$tmp/tcpdump.log" && break; sleep 0.1; done
	sleep 0.2
}

# recorded [LEVEL]: stop recording after the last answers; keep the file, packed
# if it is larger than 64 kB.
recorded() {
	sleep "${LAB_TAIL:-1}"
	written
	kill $tcpdump_pid; wait $tcpdump_pid || true
	keep "$tmp/in.pcap"
	grep -E 'captured|dropped by kernel' "$tmp/tcpdump.log" >&2
}
# written: a busy machine's tcpdump is behind; what it has not read yet would be lost.
written() {
	local was=-1 is
	while is=$(stat -c %s "$tmp/in.pcap") && [ "$is" != "$was" ]; do was=$is; sleep 0.5; done
}
keep() {
	rm -f "$case_dir/in.pcap" "$case_dir/in.pcap.zst"
	if [ "$(stat -c %s "$1")" -gt 65536 ]; then
		zstd -q -19 "$1" -o "$case_dir/in.pcap.zst"
	else
		cp "$1" "$case_dir/in.pcap"
	fi
}

# hours: stop a recording of event time that hours.py played, and keep it.
hours() {
	sleep 0.5
	written
	kill $tcpdump_pid; wait $tcpdump_pid || true
	/usr/bin/python3 "$pcaps_dir/hours.py" "$tmp/in.pcap" "$tmp/moments" "$tmp/out.pcap"
	keep "$tmp/out.pcap"
	grep -E 'captured|dropped by kernel' "$tmp/tcpdump.log" >&2
}

lab_end() {
	local s p
	set +e
	trap '' INT TERM
	for s in $spaces; do
		p=$(ip netns pids "$s"); [ -n "$p" ] && kill $p 2>/dev/null
	done
	sleep 0.3
	for s in $spaces; do
		p=$(ip netns pids "$s"); [ -n "$p" ] && kill -9 $p 2>/dev/null
		ip netns del "$s"
	done
	rm -rf "$tmp"
}
