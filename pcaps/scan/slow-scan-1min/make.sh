#!/bin/bash
# ../slow-scan once more, its times stretched: one probe a minute. Every SYN of
# the scanner moves to the next full minute; what follows it keeps its distance
# to it. Nothing but the times is changed. Needs no root.
set -eu
cd "$(dirname "$0")"
in=$(ls ../slow-scan/in.pcap*); cat=cat; [ "${in##*.}" = zst ] && cat=zstdcat
$cat "$in" | /usr/bin/python3 -c '
import struct, sys
raw = sys.stdin.buffer.read()
out, at, minute, probe = bytearray(raw[:24]), 24, -1, None
while at < len(raw):
    sec, usec, caplen, wire = struct.unpack_from("<IIII", raw, at)
    frame, t = raw[at + 16 : at + 16 + caplen], sec * 1000000 + usec
    at += 16 + caplen
    tcp = frame[12:14] == b"\x08\x00" and frame[23] == 6
    if tcp and frame[26:30] == bytes([198, 51, 100, 23]) and frame[47] == 0x02:
        minute, start, probe = minute + 1, start if probe else t, t
    if probe is None:
        continue  # ARP before the first probe
    t = start + minute * 60000000 + t - probe
    out += struct.pack("<IIII", t // 1000000, t % 1000000, caplen, wire) + frame
sys.stdout.buffer.write(out)' >in.pcap
