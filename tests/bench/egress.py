"""What the egress plane costs a connection: throughput and latency against a bare splice proxy, in one run.

CAGED_BUILD_DIR=build python3 tests/bench/egress.py [--mebibytes N] [--calls N]

Both paths end at the same server in a network namespace of the test's own; the bare proxy is a thread that does nothing
but splice(2). The client of both is the same program; for the plane it runs in a sandbox.
"""

import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "security" / "network"))
import bypass_test as suite  # noqa: E402

SERVER, SOURCE_PORT, ECHO_PORT = "203.0.113.15", 7003, 7004
CLIENT = r"""
import socket, statistics, sys, time
address, port, echo, size, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
s = socket.create_connection((address, port)); s.sendall(b"!%d\n" % size)
buffer, left, began = bytearray(1 << 20), size, time.perf_counter()
while left:
    n = s.recv_into(buffer)
    if not n: sys.exit("cut")
    left -= n
rate = size / (time.perf_counter() - began) / 1e6
s = socket.create_connection((address, echo)); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
times = []
for i in range(calls + 50):
    began = time.perf_counter(); s.sendall(b"!\n"); s.recv(10)
    if i >= 50: times.append((time.perf_counter() - began) * 1e6)
print(f"{rate:.0f} {statistics.median(times):.1f}")
"""


def source(s):
    left = int(s.makefile("rb").readline()[1:])
    piece = memoryview(bytes(1 << 20))
    while left:
        left -= s.send(piece[:left])


def echo(s):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while piece := s.recv(100):
        s.sendall(piece)


def listen(address, port, answer):
    listening = socket.create_server((address, port))

    def loop():
        while True:
            threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def splice_all(a, b):
    read, write = os.pipe()
    while n := os.splice(a.fileno(), write, 1 << 20):
        while n:
            n -= os.splice(read, b.fileno(), n)
    b.shutdown(socket.SHUT_WR)


def bare_proxy(port):
    def one(s):
        out = socket.create_connection((SERVER, port))
        for x in (s, out):
            x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=splice_all, args=(out, s), daemon=True).start()
        splice_all(s, out)
    listen("203.0.113.14", port, one)


def serve():
    """The three servers, in a process of their own: the numbers shall not depend on who else runs Python here."""
    listen(SERVER, SOURCE_PORT, source)
    listen(SERVER, ECHO_PORT, echo)
    if os.fork() == 0:
        return
    bare_proxy(SOURCE_PORT)
    bare_proxy(ECHO_PORT)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    suite.prepare()
    serving = os.fork()
    if serving == 0:
        os.setpgid(0, 0)
        serve()
        threading.Event().wait()
    bench = suite.Bypass()
    suite.Bypass.setUpClass()
    try:
        measure(bench, args)
    finally:
        suite.Bypass.doClassCleanups()
        os.killpg(serving, signal.SIGKILL)


def measure(bench, args):
    words = ["%s", str(SOURCE_PORT), str(ECHO_PORT), str(args.mebibytes << 20), str(args.calls)]
    box = bench.sandbox([SERVER, "203.0.113.14"])
    bench.api("PUT", f"/v1/sandboxes/{box}/files/content?path=/workspace/client.py", {"content": CLIENT})
    # The bare proxy is asked from outside the box.
    outside = bench.folder / "client.py"
    outside.write_text(CLIENT)
    rows = []
    for _ in range(args.rounds):
        plane = bench.api("POST", f"/v1/sandboxes/{box}/exec", {"command": "python3 client.py " + " ".join(words) % SERVER, "timeout": 100})
        bare = os.popen(f"python3 {outside} " + " ".join(words) % "203.0.113.14").read()
        if not re.fullmatch(r"\d+ [\d.]+\n", plane["stdout"]):
            sys.exit("the sandbox said: " + json.dumps(plane))
        rows.append([*map(float, plane["stdout"].split()), *map(float, bare.split())])
        print("plane {:.0f} MB/s, p50 {:.0f} µs; bare splice {:.0f} MB/s, p50 {:.0f} µs".format(*rows[-1]), flush=True)
    best = [max(r[0] for r in rows), min(r[1] for r in rows), max(r[2] for r in rows), min(r[3] for r in rows)]
    print(f"throughput: {100 * best[0] / best[2]:.0f} % of the bare proxy; latency: {best[1] - best[3]:+.0f} µs (best of {args.rounds})")


if __name__ == "__main__":
    main()
