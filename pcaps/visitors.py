"""visitors.py URL FIRST COUNT PER_SECOND SECONDS [PATHS]: COUNT clients with the addresses from FIRST on open PER_SECOND connections
to a web server, evenly but for a third more or less, one of them at a time; each fetches one page. To be run in the namespace
that has the addresses."""
import ipaddress, random, socket, sys, threading, time
from urllib.parse import urlsplit

url, first, count = urlsplit(sys.argv[1]), ipaddress.ip_address(sys.argv[2]), int(sys.argv[3])
pace, seconds, paths = float(sys.argv[4]), float(sys.argv[5]), (sys.argv[6:] or [url.path])
rng = random.Random(7)


def visit(source, path):
    try:
        with socket.create_connection((url.hostname, url.port or 80), 5, (source, 0)) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: {url.hostname}\r\nConnection: close\r\n\r\n".encode())
            while s.recv(65536):
                pass
    except OSError:
        pass


start, due, n = time.monotonic(), 0.0, 0
while due < seconds:
    time.sleep(max(0, start + due - time.monotonic()))
    threading.Thread(target=visit, args=(str(first + n % count), rng.choice(paths)), daemon=True).start()
    n += 1
    due += rng.uniform(0.67, 1.33) / pace
time.sleep(1)
