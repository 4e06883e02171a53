import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life, ask

life, rng, kept = Life(*sys.argv[1:3]), random.Random(6), []


def call():
    if not kept:
        kept.append(life.connect("pcs", "10.20.0.66", "203.0.113.66", 443))
    ask(kept[0], rng.randint(380, 420), 500)


life.every(0, 4 * 3600, 30, call, jitter=0.1, rng=rng)
life.run()
