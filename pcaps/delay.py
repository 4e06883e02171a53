#!/usr/bin/python3
"""delay.py A B DEVICE MS: a wire between two network namespaces that takes MS
milliseconds (and up to a tenth more) one way. Ends with the namespaces' other
processes; lab.sh starts and ends it. From SIGUSR1 on it takes 150 ms more, from
SIGUSR2 on it loses one frame in eight."""
import ctypes, fcntl, os, random, select, signal, struct, sys, time
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 2, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def tap(space, device):
    with open(f"/run/netns/{space}") as ns:
        if libc.setns(ns.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns " + space)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return fd


a, b = tap(sys.argv[1], sys.argv[3]), tap(sys.argv[2], sys.argv[3])
delay, loss = float(sys.argv[4]) / 1000, 0


def worse(number, _):
    global delay, loss
    if number == signal.SIGUSR1:
        delay += 0.15
    else:
        loss = 1 / 8


signal.signal(signal.SIGUSR1, worse)
signal.signal(signal.SIGUSR2, worse)
other, waiting, last = {a: b, b: a}, {a: deque(), b: deque()}, {a: 0.0, b: 0.0}
while True:
    due = min((q[0][0] for q in waiting.values() if q), default=None)
    left = 1.0 if due is None else max(0.0, due - time.monotonic())
    for fd in select.select([a, b], [], [], left)[0]:
        try:
            for _ in range(64):
                frame = os.read(fd, 65536)
                if random.random() < loss:
                    continue
                # Frames keep their order: nobody leaves before the one ahead.
                last[fd] = max(last[fd], time.monotonic() + delay * random.uniform(1, 1.1))
                waiting[fd].append((last[fd], frame))
        except (BlockingIOError, OSError):
            pass
    now = time.monotonic()
    for fd, q in waiting.items():
        while q and q[0][0] <= now:
            try:
                os.write(other[fd], q.popleft()[1])
            except OSError:
                pass  # the far device is down
