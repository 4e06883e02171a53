#!/bin/bash
# Names that do not exist, of hosts that are not ill: each name that 10.20.0.31
# asks for is asked with a wrong search suffix first (150 of them); Chromium starts
# on 10.20.0.32 ten times, each time with three random names; and 10.20.0.33
# follows 40 old links, every third of which leads to a domain that is gone.
. "$(dirname "$0")/../../lab.sh"; lab
outside resolver 198.51.100.53
inside pcs 10.20.0.31 10.20.0.32 10.20.0.33
resolver resolver "local-zone: example. redirect" "local-data: 'example. 60 A 203.0.113.7'"
/usr/bin/python3 - "$tmp" <<'PY'
import random, sys
rng, low = random.Random(11), "abcdefghijklmnopqrstuvwxyz"
with open(f"{sys.argv[1]}/names.10.20.0.31", "w") as f:
    for n in range(150):
        name = f"www.site{rng.randint(1, 60)}.example"
        f.write(f"{name}.corp.internal A\n{name} A\n")
with open(f"{sys.argv[1]}/names.10.20.0.32", "w") as f:
    for n in range(10):
        for _ in range(3):
            f.write("".join(rng.choice(low) for _ in range(rng.randint(7, 15))) + ". A\n")
        f.write("".join(f"www.start{n}.example A\n"))
with open(f"{sys.argv[1]}/names.10.20.0.33", "w") as f:
    for n in range(40):
        word = rng.choice(["garden", "window", "bridge", "market", "silver"]) + rng.choice(["shop", "news", "blog", "world"]) + str(n)
        f.write(f"www.{word}.{'com' if n % 3 == 0 else 'example'} A\n")
PY
record router wan
for f in "$tmp"/names.*; do
	on pcs timeout 100 dig -b "${f##*names.}" @198.51.100.53 +tries=1 +time=2 +short -f "$f" >/dev/null &
	workers="${workers:-} $!"
done
wait $workers || true
recorded
