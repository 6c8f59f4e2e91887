"""Ports of sandboxes, seen from outside: plain requests, streams, uploads, WebSockets, passwords, limits."""

import hashlib
import os
import socket
import time
import unittest
import urllib.error
import urllib.request

from bench import Bench, wait_for

SITE = r'''
import base64, hashlib, http.server, time
class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            key = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
            self.wfile.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + key + "\r\n\r\n").encode())
            n = self.rfile.read(2)[1] & 127
            mask = self.rfile.read(4)
            text = bytes(c ^ mask[i % 4] for i, c in enumerate(self.rfile.read(n)))
            self.wfile.write(bytes([0x81, n]) + text)
            self.close_connection = True
            return
        if self.path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(4):
                self.wfile.write(b"9\r\ndata: %d\n\n\r\n" % i)
                self.wfile.flush()
                time.sleep(0.2)
            self.wfile.write(b"0\r\n\r\n")
            return
        self.say(repr({k.lower(): v for k, v in self.headers.items()}).encode())
    def do_POST(self):
        self.say(hashlib.sha256(self.rfile.read(int(self.headers["Content-Length"]))).hexdigest().encode())
    def say(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Site).serve_forever()
'''


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None


class Preview(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench()
        cls.port = cls.bench.url.rsplit(":", 1)[1]

    @classmethod
    def tearDownClass(cls):
        cls.bench.close()

    def setUp(self):
        self.box, _ = self.bench.sandbox()
        self.bench.api("PUT", f"/v1/sandboxes/{self.box}/files/content?path=/workspace/site.py", {"content": SITE})
        self.bench.api("POST", f"/v1/sandboxes/{self.box}/exec", {"command": "setsid python3 /workspace/site.py >/dev/null 2>&1 &"})
        wait_for(lambda: 3000 in [p["port"] for p in self.bench.api("GET", f"/v1/sandboxes/{self.box}/ports")])

    def tearDown(self):
        self.bench.api("DELETE", "/v1/sandboxes/" + self.box)

    def host(self, port=3000):
        return f"{self.box}-{port}.preview.localhost:{self.port}"

    def ask(self, path, method="GET", data=None, host=None, **headers):
        request = urllib.request.Request(self.bench.url + path, method=method, data=data, headers={"Host": host or self.host(), **{k.replace("_", "-"): v for k, v in headers.items()}})
        try:
            with urllib.request.build_opener(NoRedirect).open(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(), e.headers

    def test_what_is_not_there_is_a_502_that_says_so(self):
        for host in (self.host(3999), f"cage-nosuch-3000.preview.localhost:{self.port}", f"x.preview.localhost:{self.port}", f"preview.localhost:{self.port}"):
            status, text, headers = self.ask("/", host=host)
            self.assertEqual((status, headers["Content-Type"]), (502, "application/problem+json"), host)
            status, text, headers = self.ask("/", host=host, Accept="text/html")
            self.assertEqual((status, headers["Content-Type"]), (502, "text/html; charset=utf-8"))
            self.assertIn("<h1>", text)

    def test_requests_uploads_streams_and_sockets(self):
        row = [p for p in self.bench.api("GET", f"/v1/sandboxes/{self.box}/ports") if p["port"] == 3000][0]
        self.assertEqual(row["preview_url"], "http://" + self.host())
        status, text, _ = self.ask("/")
        self.assertEqual(status, 200)
        self.assertIn(f"'host': '{self.host()}'", text)
        data = os.urandom(3_000_000)
        self.assertEqual(self.ask("/", "POST", data)[1], hashlib.sha256(data).hexdigest())
        self.stream()
        self.socket()

    def stream(self):
        with socket.create_connection(("127.0.0.1", int(self.port))) as s:
            s.sendall(f"GET /events HTTP/1.1\r\nHost: {self.host()}\r\n\r\n".encode())
            text, first = b"", None
            while b"data: 3" not in text:
                text += s.recv(4096)
                first = first or (time.monotonic() if b"data: 0" in text else None)
            self.assertGreater(time.monotonic() - first, 0.4, "the events came all at once")

    def socket(self):
        with socket.create_connection(("127.0.0.1", int(self.port))) as s:
            s.sendall((f"GET /ws HTTP/1.1\r\nHost: {self.host()}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += s.recv(4096)
            self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head)
            s.sendall(bytes([0x81, 0x85, 1, 2, 3, 4]) + bytes(c ^ (1, 2, 3, 4)[i % 4] for i, c in enumerate(b"hello")))
            frame = b""
            while len(frame) < 7:
                frame += s.recv(100)
            self.assertEqual(frame, b"\x81\x05hello")

    def test_a_password_guards_and_is_never_passed_in(self):
        shown = self.bench.api("POST", f"/v1/sandboxes/{self.box}/ports/3000/protect", {"password": "open sesame"})
        self.assertEqual((shown["port"], shown["protected"]), (3000, True))
        self.assertEqual(self.ask("/")[0], 401)
        self.assertEqual(self.ask("/", Accept="text/html")[0], 401)
        self.assertEqual(self.ask("/__caged/password", "POST", b"password=wrong")[0], 401)
        status, _, headers = self.ask("/__caged/password", "POST", b"password=open+sesame")
        self.assertEqual((status, headers["Location"]), (303, "/"))
        cookie = headers["Set-Cookie"].split(";")[0]
        self.assertIn("HttpOnly", headers["Set-Cookie"])
        status, text, _ = self.ask("/", Cookie=cookie + "; mine=1")
        self.assertEqual(status, 200)
        self.assertIn("'cookie': 'mine=1'", text)
        self.assertNotIn("caged_preview", text)
        status, text, _ = self.ask("/", X_Preview_Password="open sesame")
        self.assertEqual(status, 200)
        self.assertNotIn("sesame", text)
        self.bench.api("POST", f"/v1/sandboxes/{self.box}/ports/3000/protect", {"password": "another one"})
        self.assertEqual(self.ask("/", Cookie=cookie)[0], 401)
        self.bench.api("POST", f"/v1/sandboxes/{self.box}/ports/3000/protect", {})
        self.assertEqual(self.ask("/")[0], 200)

    def test_a_request_wakes_a_paused_sandbox_and_too_many_are_refused(self):
        self.bench.api("POST", f"/v1/sandboxes/{self.box}/pause")
        self.assertEqual(self.ask("/")[0], 200)
        self.assertEqual(self.bench.api("GET", "/v1/sandboxes/" + self.box)["status"], "running")
        while int(time.time()) % 60 > 50:  # the window is a minute of the clock
            time.sleep(0.5)
        answers = [self.ask("/") for _ in range(110)]
        codes = [a[0] for a in answers]
        self.assertLessEqual(codes.count(200), 100)
        self.assertGreaterEqual(codes.count(429), 10)
        self.assertTrue(answers[-1][2]["Retry-After"])


if __name__ == "__main__":
    unittest.main()
