import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, rng = Life(*sys.argv[1:3]), random.Random(21)


def fetch(client, url):
    life.on("crowd", "curl", "-s", "-m", "5", "--interface", client, "-o", "/dev/null", url)


for when in range(60, 27 * 3600, 1200):
    life.at(when + rng.uniform(0, 600), fetch, f"198.51.100.{rng.randint(20, 29)}", "http://10.20.0.10/0.2.html")
life.at(25.5 * 3600, fetch, "203.0.113.9", "http://10.20.0.10:8080/0.2.html")
life.run()
