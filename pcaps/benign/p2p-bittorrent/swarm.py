#!/usr/bin/python3
"""swarm.py torrent DIR: writes file.bin and file.torrent.
swarm.py tracker ADDRESS PORT: an HTTP tracker that names all 135 peers to inside
clients, and the inside client to every third peer.
swarm.py client DIR TORRENT DHT_NODE: takes part for 70 seconds."""
import hashlib, random, socket, struct, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PEERS = ["198.51.100.%d" % n for n in range(20, 95)] + ["203.0.113.%d" % n for n in range(20, 80)]
PORTS = [20000 + (i * 7919) % 30000 for i in range(len(PEERS))]
PIECE = 32768


def bencode(v):
    if isinstance(v, int):
        return b"i%de" % v
    if isinstance(v, bytes):
        return b"%d:%s" % (len(v), v)
    return b"d" + b"".join(bencode(k) + bencode(v[k]) for k in sorted(v)) + b"e"


def torrent(folder):
    data = random.Random(7).randbytes(2 << 20)
    sums = b"".join(hashlib.sha1(data[i : i + PIECE]).digest() for i in range(0, len(data), PIECE))
    info = {b"name": b"file.bin", b"length": len(data), b"piece length": PIECE, b"pieces": sums}
    open(folder + "/file.bin", "wb").write(data)
    open(folder + "/file.torrent", "wb").write(bencode({b"announce": b"http://203.0.113.5:6969/announce", b"info": info}))


class Tracker(BaseHTTPRequestHandler):
    def do_GET(self):
        peers = list(zip(PEERS, PORTS))
        if not self.client_address[0].startswith("10.20."):
            third = int(self.client_address[0].split(".")[3]) % 3 == 0
            peers = [("10.20.0.77", 51413)] if third else []
        random.shuffle(peers)
        packed = b"".join(socket.inet_aton(a) + struct.pack(">H", p) for a, p in peers)
        body = bencode({b"interval": 20, b"min interval": 10, b"peers": packed})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def client(folder, file, node):
    import libtorrent

    session = libtorrent.session({
        "listen_interfaces": "10.20.0.77:51413", "outgoing_interfaces": "10.20.0.77",
        "enable_outgoing_utp": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "connection_speed": 6, "connections_limit": 200, "dht_bootstrap_nodes": node,
        "download_rate_limit": 22000, "upload_rate_limit": 22000, "peer_connect_timeout": 8,
    })
    torrent = session.add_torrent({"ti": libtorrent.torrent_info(file), "save_path": folder})
    time.sleep(70)
    status = torrent.status()
    print(status.num_peers, "peers,", status.total_payload_download, "bytes down,", status.total_payload_upload, "up")


if sys.argv[1] == "torrent":
    torrent(sys.argv[2])
elif sys.argv[1] == "client":
    client(*sys.argv[2:])
else:
    ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Tracker).serve_forever()
