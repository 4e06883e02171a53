import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, rng = Life(*sys.argv[1:3], quiet=0.03), random.Random(23)


def fetch(server):
    life.on("crowd", "curl", "-s", "-m", "0.4", "--interface", f"198.51.100.{rng.randint(20, 29)}", "-o", "/dev/null", f"http://{server}/0.2.html")


def away(how):
    life.on("server", "ip", "link", "set", "eth0", how)


for when in range(0, 20 * 60, 6):
    if not 13 * 60 < when < 18 * 60 or when % 30 == 0:
        life.at(when, fetch, "10.20.0.10")
    life.at(when + 3, fetch, "10.20.0.11")
life.at(13 * 60 + 1, away, "down")
life.at(18 * 60 - 1, lambda: (away("up"), life.on("server", "ip", "route", "replace", "default", "via", "10.20.0.1", "src", "10.20.0.10")))
life.run()
