"""What the LLM gateway adds: latency against asking the provider directly, and 1,000 streams at a time.

CAGED_BUILD_DIR=build python3 tests/bench/gateway.py [--calls N] [--streams N]
"""

import argparse
import json
import os
import selectors
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration/gateway"))
from bench import HOST, Bench  # noqa: E402


def request(host, token, body, connection="keep-alive"):
    data = json.dumps(body).encode()
    return (f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nx-api-key: {token}\r\nContent-Type: application/json\r\n"
            f"Connection: {connection}\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data


def read_answer(s):
    """One answer with a Content-Length."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += s.recv(65536)
    head, _, body = text.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n", 1)[0], head
    length = int([h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")][0].split(b":")[1])
    while len(body) < length:
        body += s.recv(65536)


def one(s, text):
    began = time.perf_counter()
    s.sendall(text)
    read_answer(s)
    return (time.perf_counter() - began) * 1000


def connect(url):
    host, port = url.split("//")[1].split(":")
    s = socket.create_connection((host, int(port)))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def latency(bench, token, calls):
    body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    direct, through = connect(bench.upstream_url), connect(bench.url)
    times = {"direct": [], "through": []}
    for i in range(calls + 50):  # alternating, so that both see the same machine
        a = one(direct, request("x", token, body))
        b = one(through, request(HOST, token, body))
        if i >= 50:
            times["direct"].append(a)
            times["through"].append(b)
    p50 = {k: statistics.median(v) for k, v in times.items()}
    p99 = {k: statistics.quantiles(v, n=100)[98] for k, v in times.items()}
    print(f"latency: direct p50 {p50['direct']:.2f} ms, through the gateway {p50['through']:.2f} ms: "
          f"+{p50['through'] - p50['direct']:.2f} ms (p99 {p99['direct']:.2f} and {p99['through']:.2f})")


def streams(bench, token, count):
    body = {"model": "claude-sonnet-4-5--out40-slow", "max_tokens": 100, "stream": True, "messages": []}
    text = request(HOST, token, body, "close")
    ready = selectors.DefaultSelector()
    began = time.monotonic()
    for _ in range(count):
        s = connect(bench.url)
        s.sendall(text)
        s.setblocking(False)
        ready.register(s, selectors.EVENT_READ, bytearray())
    open_now, whole, most = count, 0, 0
    while open_now and time.monotonic() - began < 300:
        for key, _ in ready.select(1):
            piece = key.fileobj.recv(65536)
            key.data.extend(piece)
            if piece:
                continue
            whole += b"message_stop" in key.data
            ready.unregister(key.fileobj)
            key.fileobj.close()
            open_now -= 1
        most = max(most, sum(1 for k in ready.get_map().values() if k.data))
    print(f"streams: {whole} of {count} complete in {time.monotonic() - began:.1f} s, {most} flowing at a time")
    rss = [line for line in open(f"/proc/{bench.server.pid}/status", encoding="ascii") if line.startswith("VmHWM")][0].split()[1]
    print(f"the server's memory at its height: {int(rss) // 1024} MiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=1000)
    args = parser.parse_args()
    bench = Bench()
    try:
        _, env = bench.sandbox()
        latency(bench, env["CAGED_LLM_TOKEN"], args.calls)
        streams(bench, env["CAGED_LLM_TOKEN"], args.streams)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
