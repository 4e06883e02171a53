#!/bin/bash
# A BitTorrent client (libtorrent, inside) in a swarm of 135 peers the tracker names,
# on as many high ports: 30 never answer, 5 refuse, 100 are aria2; a third of these
# is still loading, too, and calls by itself. Data goes both ways, DHT runs beside it.
LAB_DELAY_MS=15
. "$(dirname "$0")/../../lab.sh"; lab
outside swarm $(range 198.51.100. 20 94) $(range 203.0.113. 20 79)
outside tracker 203.0.113.5
inside client 10.20.0.77
drops swarm input ip daddr 198.51.100.65-198.51.100.94
python=/usr/bin/python3
$python "$case_dir/swarm.py" torrent $tmp
ip netns exec "$net-tracker" $python "$case_dir/swarm.py" tracker 203.0.113.5 6969 &
# The first 45 addresses of the one and the first 55 of the other network are peers.
port() { echo $((20000 + ($1 * 7919) % 30000)); }
n=0
for a in $(range 198.51.100. 20 64) $(range 203.0.113. 20 74); do
	n=$((n + 1)); d=$tmp/p$n; mkdir $d
	seed=; [ $((n % 3)) != 0 ] && seed="--bt-seed-unverified=true" && cp $tmp/file.bin $d
	node=198.51.100.23:$(port 3); [ $((n % 3)) = 0 ] && node=10.20.0.77:51413
	case $a in 198*) i=$((${a##*.} - 20)) ;; *) i=$((${a##*.} - 20 + 75)) ;; esac
	HOME=$d ip netns exec "$net-swarm" aria2c -q --no-conf --interface=$a --dir=$d --listen-port=$(port $i) --enable-dht=true \
		--dht-listen-port=$(port $i) --dht-file-path=$d/dht --dht-entry-point=$node --seed-ratio=0 --enable-peer-exchange=false --bt-enable-lpd=false \
		--max-upload-limit=12K --file-allocation=none --bt-stop-timeout=0 $seed $tmp/file.torrent >/dev/null 2>&1 &
	[ $n = 30 ] && sleep 2
done
record router wan -s 96
mkdir $tmp/c
ip netns exec "$net-client" timeout 80 $python "$case_dir/swarm.py" client $tmp/c $tmp/file.torrent "198.51.100.23:$(port 3)" || true
recorded
