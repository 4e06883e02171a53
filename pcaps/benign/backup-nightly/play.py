import os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, tmp, rng = Life(*sys.argv[1:3]), sys.argv[3], random.Random(3)
day, hour = 86400, 3600


def backup():
    life.on("files", "scp", "-q", "-i", f"{tmp}/key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            f"{tmp}/night", "root@198.51.100.77:/dev/null")


when = 0
while when < 4 * day:
    page = f"http://198.51.100.{rng.randint(20, 27)}/{rng.choice(['1', '4', '12'])}.html"
    life.at(when, life.on, "files", "curl", "-s", "-m", "5", "-o", "/dev/null", page)
    when += min(rng.expovariate(1 / 1300), 3000)
life.every(2 * hour + 60, 4 * day, day, backup)
life.at(3 * day + 2 * hour + 300, backup)
for n, host in enumerate(("10.20.0.20", "10.20.0.21", "10.20.0.22")):
    life.every(12 * hour + 200 + 60 * n, 4 * day, day, life.on, "pcs", "curl", "-s", "-m", "60", "--interface", host, "-T", f"{tmp}/noon",
               "http://198.51.100.90:8080/x")
life.run()
