import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, rng = Life(*sys.argv[1:3]), random.Random(5)


def fetch(host, url):
    life.on("pcs", "curl", "-s", "-m", "5", "--interface", host, "-o", "/dev/null", url)


life.every(7, 5 * 3600, 60, fetch, "10.20.0.66", "http://203.0.113.66/0.2.html", jitter=0.2, rng=rng)
for host in ("10.20.0.20", "10.20.0.21", "10.20.0.66"):
    for visit in range(6):
        start = rng.uniform(0, 5 * 3600)
        site = f"http://198.51.100.{rng.randint(20, 29)}"
        for page in range(rng.randint(2, 6)):
            life.at(start, fetch, host, f"{site}/{rng.choice(['1', '4', '12', '40'])}.html")
            start += rng.expovariate(1 / 20)
life.run()
