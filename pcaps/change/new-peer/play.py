import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, rng = Life(*sys.argv[1:3]), random.Random(22)


def fetch(host, url, *more):
    life.on(host, "curl", "-s", "-m", "5", "-o", "/dev/null", *more, url)


for when in range(60, 27 * 3600, 1200):
    life.at(when + rng.uniform(0, 600), fetch, "crowd", "http://10.20.0.10/0.2.html", "--interface", f"198.51.100.{rng.randint(20, 29)}")
for when in range(700, 27 * 3600, 5400):
    life.at(when + rng.uniform(0, 4000), fetch, "server", "http://198.51.100.80/1.html")
for hour in range(27):
    life.at(hour * 3600 + rng.uniform(0, 3600), fetch, "pc", f"http://203.0.113.{60 + hour % 10}/0.2.html")
life.at(25.5 * 3600, fetch, "server", "http://203.0.113.66/0.2.html")
life.run()
