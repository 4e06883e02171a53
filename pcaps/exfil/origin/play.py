import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, tmp, rng = Life(*sys.argv[1:3]), sys.argv[3], random.Random(5)
day, end = 86400, 2 * 86400 + 11 * 3600


def backup():
    life.on("pcs", "scp", "-q", "-i", f"{tmp}/key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            f"{tmp}/night", "root@198.51.100.77:/dev/null")


def upload(to):
    life.on("pcs", "curl", "-s", "-m", "60", "-T", f"{tmp}/part", f"http://203.0.113.{to}:8080/x")


when = 0
while when < end:
    page = f"http://198.51.100.{rng.randint(20, 27)}/{rng.choice(['0.2', '1', '4'])}.html"
    life.at(when, life.on, "pcs", "curl", "-s", "-m", "5", "-o", "/dev/null", page)
    when += min(rng.expovariate(1 / 1500), 3000)
life.every(2 * 3600 + 60, end, day, backup)
for i in range(5):
    life.at(2 * day + 10 * 3600 + 60 + 120 * i, upload, 70 + i)
life.run()
