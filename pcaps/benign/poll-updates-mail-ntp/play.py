import os, random, socket, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life, ask

life, rng, kept = Life(*sys.argv[1:3], quiet=0.03), random.Random(7), {}
end = 12 * 3600


def fetch(host, url):
    life.on("pcs", "curl", "-s", "-m", "5", "--interface", host, "-o", "/dev/null", url)


def mail():
    s = life.connect("pcs", "10.20.0.21", "198.51.100.30", 993)
    for up, down in ((517, 1400), (90, 60), (110, 120), (60, rng.choice([90, 90, 90, 4000]))):
        ask(s, up, down)
    s.close()


def push(port):
    if port not in kept:
        kept[port] = life.connect("pcs", "10.20.0.22", "198.51.100.40", port)
    ask(kept[port], 40, 40)


def time_of(server):
    if server not in kept:
        kept[server] = life.socket("pcs", socket.SOCK_DGRAM, "10.20.0.23")
    kept[server].sendto(b"\x23" + os.urandom(47), (server, 123))
    kept[server].recv(512)


for n, host in enumerate(range(24, 30)):
    life.every(100 * n, end, 1200, fetch, f"10.20.0.{host}", "http://198.51.100.20/1.html", jitter=0.01, rng=rng)
life.every(3, end, 300, mail, jitter=0.01, rng=rng)
for port in (443, 5228):
    life.every(port % 45, end // 3, 45, push, port)
for n, server in enumerate(("198.51.100.50", "198.51.100.51")):
    life.every(11 + 20 * n, end // 2, 64, time_of, server, jitter=0.01, rng=rng)
for n in range(6):
    life.every(31 + 5 * n, end, 1200, fetch, "10.20.0.20", f"http://203.0.113.{20 + n}/0.2.html")
life.run()
