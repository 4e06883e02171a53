#!/usr/bin/python3
"""parrot.py PORT...: a TCP server that reads two numbers and as many bytes as the first says (itself included), and answers
with as many as the second says. On UDP 123 it answers each packet with one of 48 bytes."""
import os, socket, struct, sys, threading


def whole(c, n):
    b = b""
    while len(b) < n:
        got = c.recv(min(n - len(b), 65536))
        if not got:
            return None
        b += got
    return b


def speak(c):
    try:
        while True:
            head = whole(c, 8)
            if head is None:
                break
            up, down = struct.unpack("!II", head)
            whole(c, max(up - 8, 0))
            while down > 0:
                c.sendall(os.urandom(min(down, 65536)))
                down -= min(down, 65536)
    except OSError:
        pass
    c.close()


def serve(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    s.listen(64)
    while True:
        c, _ = s.accept()
        threading.Thread(target=speak, args=(c,), daemon=True).start()


def keep_time():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: the answer leaves from the address that was asked
    s.bind(("", 123))
    while True:
        data, info, _, peer = s.recvmsg(512, 64)
        local = info[0][2][4:8]
        s.sendmsg([b"\x24" + data[1:48]], [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, local, local))], 0, peer)


for p in sys.argv[1:]:
    threading.Thread(target=keep_time if p == "123" else serve, args=() if p == "123" else (int(p),), daemon=True).start()
threading.Event().wait()
