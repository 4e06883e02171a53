#!/usr/bin/python3
"""form.py PORT: a web application with a login form (/login), which answers a wrong password by the form again (200), or with
/moved by a redirect to it (302), a page behind basic authentication (/private, 401), and an interface that takes POSTs (/api)."""
import base64, http.server, sys

FORM = b"<html><form method=post>user <input name=user> password <input name=password type=password></form>%s</html>"


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/private":
            if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"admin:right").decode():
                return self.answer(200, b"welcome")
            return self.answer(401, b"who are you?", ("WWW-Authenticate", 'Basic realm="x"'))
        if self.path in ("/login", "/moved"):
            return self.answer(200, FORM % b"", ("Set-Cookie", "session=1"))
        if self.path.startswith("/page") or self.path == "/":
            return self.answer(200, b"a page " * 60)
        self.answer(404, b"not here")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api":
            return self.answer(200, b'{"items": [%s]}' % (b"1," * (len(body) % 50)))
        if b"password=right" in body:
            return self.answer(302, b"", ("Location", "/page"))
        if self.path == "/moved":
            return self.answer(302, b"", ("Location", "/moved"))
        self.answer(200, FORM % b"wrong user or password")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer.request_queue_size = 256
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), App).serve_forever()
