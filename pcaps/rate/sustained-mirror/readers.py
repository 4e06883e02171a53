"""readers.py SECONDS: thirty clients who each read some pages and leave, at twenty times the pace of life."""
import http.client, random, sys, threading, time

rng, end = random.Random(11), time.monotonic() + float(sys.argv[1])


def read(i, wait, visits):
    time.sleep(wait)
    for pause, pages in visits:
        try:
            c = http.client.HTTPConnection("10.20.0.10", 80, timeout=5, source_address=(f"198.51.100.{20 + i}", 0))
            for page, look in pages:
                if time.monotonic() > end:
                    return
                c.request("GET", f"/p{page}.html")
                c.getresponse().read()
                time.sleep(look)
            c.close()
        except OSError:
            pass
        time.sleep(pause)


for i in range(30):
    visits = [(rng.uniform(7, 15), [(rng.randint(1, 60), rng.uniform(0.2, 0.6)) for _ in range(rng.randint(4, 10))]) for _ in range(20)]
    threading.Thread(target=read, args=(i, rng.uniform(0, 15), visits), daemon=True).start()
time.sleep(float(sys.argv[1]))
