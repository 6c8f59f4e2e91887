"""Servers for the bypass suite, all on addresses of this network namespace's loopback: names, web, TLS, echo."""

import selectors
import socket
import ssl
import struct
import subprocess
import threading

NAMES = {
    "good.example": ["203.0.113.10", "2001:db8::10"],
    "other.example": ["203.0.113.11"],
    "denied.example": ["203.0.113.20"],
    "shared.example": ["203.0.113.10"],
    "a.wild.example": ["203.0.113.12"],
    "a.b.wild.example": ["203.0.113.12"],
    "deep.any.example": ["203.0.113.12"],
    "x.y.any.example": ["203.0.113.12"],
    "port.example": ["203.0.113.13"],
    "private.example": ["10.1.2.3"],
    "loop.example": ["127.0.0.1"],
    "meta.example": ["169.254.169.254"],
    "own.example": ["198.51.100.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "xn--bcher-kva.example": ["203.0.113.14"],
    "crowd.example": ["203.0.113.15"],
}
ALIASES = {"alias.example": "private.example", "fine.example": "good.example"}
TEXTS = {"good.example": "v=ok", "denied.example": "v=leak"}
SERVICES = {"_http._tcp.good.example": (1, 2, 80, "good.example")}


def encode(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"


def read_name(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
        at += 1 + data[at]
    return ".".join(labels), at + 1


class NameServer(threading.Thread):
    """Answers by NAMES; `asked` is every name that reached it, `rebind` flips to a loopback address."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.asked, self.rebinds = [], 0

    def addresses(self, name):
        if name == "rebind.example":
            self.rebinds += 1
            return ["203.0.113.10"] if self.rebinds <= 1 else ["127.0.0.1"]
        return NAMES.get(name, [])

    def records(self, name, kind):
        out = []
        if name in ALIASES:
            out.append((name, 5, encode(ALIASES[name])))
            name = ALIASES[name]
        for text in self.addresses(name) if kind in (1, 28) else []:
            v6 = ":" in text
            if v6 == (kind == 28):
                out.append((name, kind, socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, text)))
        if kind == 16 and name in TEXTS:
            out.append((name, 16, bytes([len(TEXTS[name])]) + TEXTS[name].encode()))
        if kind == 33 and name in SERVICES:
            priority, weight, port, target = SERVICES[name]
            out.append((name, 33, struct.pack(">HHH", priority, weight, port) + encode(target)))
        return out

    def run(self):
        while True:
            data, peer = self.socket.recvfrom(4096)
            name, at = read_name(data, 12)
            kind = struct.unpack(">H", data[at : at + 2])[0]
            self.asked.append(name)
            rows = self.records(name, kind)
            known = rows or name in NAMES or name in ALIASES or name in SERVICES or name == "rebind.example"
            head = data[:2] + struct.pack(">HHHHH", 0x8180 | (0 if known else 3), 1, len(rows), 0, 0)
            body = b"".join(encode(n) + struct.pack(">HHIH", k, 1, 0, len(d)) + d for n, k, d in rows)
            self.socket.sendto(head + data[12 : at + 4] + body, peer)


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=good.example"],
        check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def serve(address, port, answer, context=None):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(1024)

    def one(s):
        try:
            s.settimeout(60)
            if context:
                s = context.wrap_socket(s, server_side=True)
            answer(s)
        except OSError:
            pass
        finally:
            s.close()

    def loop():
        while True:
            s, _ = listening.accept()
            threading.Thread(target=one, args=(s,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def web(s):
    """Keeps connections, names the Host it saw, agrees to upgrades."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            piece = s.recv(65536)
            if not piece:
                return
            buffer += piece
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        text = head.decode(errors="replace")
        host = next((line[5:].strip() for line in text.split("\r\n")[1:] if line.lower().startswith("host:")), "")
        if "upgrade:" in text.lower() and host == "good.example":
            s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            return echo(s)
        target = text.split(" ")[1]
        if target.startswith("/to-"):
            s.sendall(f"HTTP/1.1 302 Found\r\nLocation: http://{target[4:]}/\r\nContent-Length: 0\r\n\r\n".encode())
            continue
        body = ("REACHED " + host).encode()
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def echo(s):
    while piece := s.recv(65536):
        s.sendall(piece)


def greet(s):
    s.sendall(b"REACHED greeting\r\n")
    echo(s)


class Crowd(threading.Thread):
    """Answers one byte to everything, for thousands of connections at a time; `most` is how many there were."""

    def __init__(self, address, port):
        super().__init__(daemon=True)
        self.listening = socket.create_server((address, port), backlog=4096)
        self.listening.setblocking(False)
        self.open = self.most = 0

    def run(self):
        ready = selectors.DefaultSelector()
        ready.register(self.listening, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                s = key.fileobj
                if s is self.listening:
                    self.take(ready)
                    continue
                try:
                    if s.recv(4096):
                        s.send(b"!")
                        continue
                except OSError:
                    pass
                ready.unregister(s)
                s.close()
                self.open -= 1

    def take(self, ready):
        while True:
            try:
                s, _ = self.listening.accept()
            except OSError:
                return
            s.setblocking(False)
            ready.register(s, selectors.EVENT_READ)
            self.open += 1
            self.most = max(self.most, self.open)
