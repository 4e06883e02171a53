import base64, os, random, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))
from hours import Life

life, rng = Life(*sys.argv[1:3]), random.Random(8)
for n in range(180):
    name = base64.b32encode(rng.randbytes(25)).decode().lower() + ".drop.example.net"
    life.at(20 * n, life.on, "pc", "dig", "+tries=1", "+time=2", "+short", "@198.51.100.53", name)
life.run()
