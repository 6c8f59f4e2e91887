"""Runs in the sandbox: a few words for what a program there can try, then the cases given as JSON, many at a time."""

import concurrent.futures
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request


def tcp(host, port, *pieces, wait=12, pause=0.6):
    """Sends the pieces with a pause between; everything that comes back, "CLOSED" when the other side ended it."""
    s = socket.create_connection((host, port), wait)
    for i, piece in enumerate(pieces):
        if i or piece is None:
            time.sleep(pause)
        if piece:
            s.sendall(piece)
    return rest(s)


def rest(s):
    out = b""
    try:
        while b"REACHED" not in out:
            piece = s.recv(65536)
            if not piece:
                return out.decode(errors="replace") + " CLOSED"
            out += piece
    except ConnectionResetError:
        out += b" CLOSED by reset"
    except socket.timeout:
        out += b" TIMEOUT"
    return out.decode(errors="replace")


def http(address, host, port=80, target="/", more=""):
    return tcp(address, port, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n".encode())


def tls(address, name, port=443, host="x"):
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    s = c.wrap_socket(socket.create_connection((address, port), 12), server_hostname=name)
    s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return s.recv(1000).decode()


def hello(name, *extensions):
    """The bytes of a ClientHello with this name and further extensions (type, body)."""
    text = name.encode()
    rows = [(0, struct.pack(">HBH", len(text) + 3, 0, len(text)) + text), *extensions]
    body = b"".join(struct.pack(">HH", k, len(d)) + d for k, d in rows)
    body = b"\3\3" + b"r" * 32 + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(body)) + body
    return b"\x16\3\1" + struct.pack(">H", len(body) + 4) + b"\1" + struct.pack(">I", len(body))[1:] + body


def dns(name, kind=1, server="127.0.0.1", stream=False):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"
    q = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    s.settimeout(12)
    s.connect((server, 53))
    s.send(struct.pack(">H", len(q)) + q if stream else q)
    r = s.recv(4096)
    r = r[2:] if stream else r
    n = struct.unpack(">H", r[6:8])[0]
    return f"REACHED {n} {r!r}" if n else f"DNS: no record, code {r[3] & 15}"


def datagram(address, port, family=socket.AF_INET, protocol=0):
    s = socket.socket(family, socket.SOCK_DGRAM, protocol)
    s.settimeout(3)
    s.connect((address, port))
    for _ in range(3):
        s.send(b"hello")
        time.sleep(0.05)
    return s.recv(100).decode()


def opened(*words):
    s = socket.socket(*words)
    return "REACHED: a socket " + str(s)


def unix(address):
    socket.socket(socket.AF_UNIX).connect(address)
    return "REACHED"


def fetch(url):
    """As an ordinary library does it: follows redirections."""
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=12).read().decode()
    except urllib.error.HTTPError as e:
        return f"{e.code} {e.read().decode()}"


def many(count, address, port, first):
    """So many connections at a time that say `first` and stay; how many were answered."""
    held, answered = [], 0
    for _ in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((address, port))
        held.append(s)
        if len(held) % 250 == 0:
            time.sleep(0.02)
    end = time.monotonic() + 60
    for s in held:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            s.sendall(first)
        except OSError:
            pass
    for s in held:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            answered += bool(s.recv(1))
        except OSError:
            pass
    return held, answered


def attempt(case):
    began = time.monotonic()
    try:
        said = str(eval(case["do"]))  # the suite's own words
    except OSError as e:
        said = f"{type(e).__name__}: {e}"
    except Exception as e:  # a case that is broken, not stopped
        said = f"BROKEN {type(e).__name__}: {e}"
    return {"what": case["what"], "said": said, "took": round(time.monotonic() - began, 2)}


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        given = json.load(f)
    globals().update(given["values"])
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        print(json.dumps(list(pool.map(attempt, given["cases"]))))


if __name__ == "__main__":
    main()
