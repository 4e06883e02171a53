#!/bin/bash
# ../web-browsing once more through a bad mirror: every frame is lost with a chance
# of one in twenty (a fixed random sequence), SYN-ACKs among them. Needs no root.
set -eu
cd "$(dirname "$0")"
rm -f in.pcap in.pcap.zst
zstdcat ../web-browsing/in.pcap.zst | /usr/bin/python3 -c '
import random, struct, sys
raw, at, chance = sys.stdin.buffer.read(), 24, random.Random(7)
out = bytearray(raw[:24])
while at < len(raw):
    end = at + 16 + struct.unpack_from("<I", raw, at + 8)[0]
    if chance.random() >= 0.05:
        out += raw[at:end]
    at = end
sys.stdout.buffer.write(out)' | zstd -q -19 -o in.pcap.zst
