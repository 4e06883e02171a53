"""names.py FOLDER: the questions of each host, one file a host, for dig -f."""
import random, sys

rng = random.Random(10)
low, hexa = "abcdefghijklmnopqrstuvwxyz0123456789", "0123456789abcdef"


def letters(alphabet, n):
    return "".join(rng.choice(alphabet) for _ in range(n))


def address():
    return ".".join(str(rng.randint(0, 255)) for _ in range(4))


mail = []
for _ in range(380):
    a = address()
    for zone in ("zen.spamhaus.org", "bl.spamcop.net", "dnsbl.lists.example", "ips.backscatter.example"):
        mail.append(f"{a}.{zone} A")
    mail.append(f"{a}.in-addr.arpa PTR")
for _ in range(200):
    mail.append(".".join(letters(hexa, 32)) + ".ip6.arpa PTR")
    mail.append(".".join(letters(hexa, 32)) + ".dnsbl.lists.example A")
for n in range(150):
    mail.append(f"s{rng.randint(1, 9)}-{letters(low, 12)}._domainkey.sender{n}.example TXT")
    mail.append(f"sender{n}.example TXT")
rng.shuffle(mail)
open(f"{sys.argv[1]}/names.10.20.0.25", "w").write("\n".join(mail) + "\n")

for host in (31, 32, 33):
    asked = []
    for _ in range(250):
        asked.append(f"d{letters(low, 13)}.cloudfront.net A")
        asked.append(f"r{rng.randint(1, 20)}---sn-{letters(low, 8)}.googlevideo.com A")
        asked.append(f"e{rng.randint(1, 99999)}.dscb.akamaiedge.net A")
        asked.append(rng.choice(["www", "cdn", "img1", "img2", "static", "api", "login"]) + ".bigsite.example A")
    for _ in range(15):
        asked.append(f"_ldap._tcp.site{rng.randint(1, 5)}._sites.dc._msdcs.corp.example SRV")
        asked.append(f"_acme-challenge.host{rng.randint(1, 9)}.corp.example TXT")
        asked.append(f"{letters(hexa, 8)}-{letters(hexa, 4)}-{letters(hexa, 4)}.telemetry.vendor{rng.randint(1, 9)}.example A")
    if host == 31:
        asked += [f"4z9p5tjmcbnblehp4557z1d136.{letters(hexa, 32)}.avqs.mcafee.com A" for _ in range(300)]
    rng.shuffle(asked)
    open(f"{sys.argv[1]}/names.10.20.0.{host}", "w").write("\n".join(asked) + "\n")
