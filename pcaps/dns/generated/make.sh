#!/bin/bash
# A program that looks for its master: 60 names of 12 to 18 random letters below
# .info, .biz and .net, one a second, none of which exists; among them 20
# questions of the same host for ten names that do.
. "$(dirname "$0")/../../lab.sh"; lab
outside resolver 198.51.100.53
inside pc 10.20.0.66
resolver resolver "$(for n in $(seq 10); do echo "local-data: 'www.site$n.example. 60 A 203.0.113.$n'"; done)"
record router wan
/usr/bin/python3 - >"$tmp/names" <<'PY'
import random
rng = random.Random(9)
for n in range(60):
    print("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(12, 18))) + rng.choice([".info", ".biz", ".net"]))
    if n % 3 == 0:
        print(f"www.site{rng.randint(1, 10)}.example")
PY
while read -r name; do on pc dig +tries=1 +time=2 @198.51.100.53 "$name" >/dev/null; sleep 0.2; done <"$tmp/names"
recorded
