"""hours.py: hours and days of a site's life, played in minutes and recorded with the times they stand for.

A case's play.py says what happens when (Life.at, in seconds of event time), and Life.run does one thing after the other,
waits until its packets are over, and notes when it began: by the clock, and in event time. Afterwards

    /usr/bin/python3 hours.py IN.pcap MOMENTS OUT.pcap

gives each packet the event time of what it belongs to (the latest beginning before it), plus the time since then. Nothing but
the times is changed. Event time 0 is Monday, 2 November 2026, 00:00 UTC."""
import ctypes, os, socket, struct, subprocess, sys, time

MONDAY = 1793577600
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Life:
    def __init__(self, net, moments, quiet=0.06):
        self.net, self.moments, self.quiet = net, moments, quiet
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.plan = []

    def at(self, when, do, *args, **more):
        self.plan.append((when, len(self.plan), lambda: do(*args, **more)))

    def every(self, start, end, step, do, *args, jitter=0, rng=None, **more):
        when = start
        while when < end:
            self.at(when, do, *args, **more)
            when += step * (1 + (rng.uniform(-jitter, jitter) if rng else 0))

    def run(self):
        with open(self.moments, "w") as log:
            for when, _, do in sorted(self.plan, key=lambda p: p[:2]):
                log.write(f"{time.time():.6f} {when:.6f}\n")
                do()
                time.sleep(self.quiet)

    def on(self, host, *command):
        subprocess.run(["ip", "netns", "exec", f"{self.net}-{host}", *command], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)

    def socket(self, host, kind, address=""):
        """A socket that lives in a host's namespace."""
        with open(f"/run/netns/{self.net}-{host}") as ns:
            if libc.setns(ns.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        try:
            s = socket.socket(socket.AF_INET, kind)
            s.settimeout(5)
            if address:
                s.bind((address, 0))
            return s
        finally:
            libc.setns(self.home, CLONE_NEWNET)

    def connect(self, host, address, to, port):
        s = self.socket(host, socket.SOCK_STREAM, address)
        s.connect((to, port))
        return s


def ask(s, up, down):
    """Sends up bytes to parrot.py, which answers with down."""
    s.sendall(struct.pack("!II", up, down) + os.urandom(max(up - 8, 0)))
    while down > 0:
        got = s.recv(65536)
        if not got:
            raise EOFError
        down -= len(got)


def retime(source, moments, target):
    real, event = [], []
    for line in open(moments):
        r, e = map(float, line.split())
        real.append(r)
        event.append(e)
    raw = open(source, "rb").read()
    out, at, i, last = bytearray(raw[:24]), 24, 0, 0
    while at < len(raw):
        sec, usec, caplen, wire = struct.unpack_from("<IIII", raw, at)
        t = sec + usec / 1e6
        while i + 1 < len(real) and real[i + 1] <= t:
            i += 1
        if t >= real[0]:
            us = max(int((MONDAY + event[i] + t - real[i]) * 1e6), last)
            last = us
            out += struct.pack("<IIII", us // 1000000, us % 1000000, caplen, wire) + raw[at + 16:at + 16 + caplen]
        at += 16 + caplen
    open(target, "wb").write(out)


if __name__ == "__main__":
    retime(*sys.argv[1:4])
