"""stretch.py IN.pcap PHASES OUT.pcap: gives a recording that was played faster than life its pace back.

PHASES has a line for each phase, "SECONDS FACTOR": when it began (by the clock) and by how much its time is stretched. What was
before the first phase is left out. Round-trip times are stretched, too: a phase that is to show those has the factor 1."""
import struct, sys


def stretch(source, phases, target):
    plan = [tuple(map(float, line.split())) for line in open(phases)]
    raw = open(source, "rb").read()
    out, at, i = bytearray(raw[:24]), 24, 0
    start = plan[0][0]  # of the phase, in the time that is written
    while at < len(raw):
        sec, usec, caplen, wire = struct.unpack_from("<IIII", raw, at)
        t = sec + usec / 1e6
        while i + 1 < len(plan) and plan[i + 1][0] <= t:
            start += (plan[i + 1][0] - plan[i][0]) * plan[i][1]
            i += 1
        if t >= plan[0][0]:
            us = int((start + (t - plan[i][0]) * plan[i][1]) * 1e6)
            out += struct.pack("<IIII", us // 1000000, us % 1000000, caplen, wire) + raw[at + 16:at + 16 + caplen]
        at += 16 + caplen
    open(target, "wb").write(out)


if __name__ == "__main__":
    stretch(*sys.argv[1:4])
