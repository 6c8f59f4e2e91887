#!/usr/bin/env python3
"""Every attack of the table, on stdio, WebSocket and Streamable HTTP, on the bare host and with --isolate.

usage: attacks_test.py BIN-FOLDER [PART-OF-A-NAME …]   prints case, way in, what stopped it, result
"""

import concurrent.futures
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True
import client  # noqa: E402
import files_cases  # noqa: E402,F401
import git_cases  # noqa: E402,F401
import http_cases  # noqa: E402,F401
import terminal_cases  # noqa: E402,F401
import websocket_cases  # noqa: E402,F401
from table import CASES  # noqa: E402

WAYS = [(transport, isolate) for isolate in (False, True) for transport in ("stdio", "ws", "http")]


class Target:
    """A server under attack and the channel to it, with a folder of the case's own in the workspace."""

    def __init__(self, server, name, flags, race_seconds):
        self.server, self.dir, self.race_seconds = server, name, race_seconds
        self.root, self.outside, self.folder = server.root, server.outside, server.folder
        self.secret, self.isolate, self.transport = server.secret, server.isolate, server.transport
        token = flags[flags.index("--token") + 1] if "--token" in flags else None
        self.c = server.connect(**({"headers": {"Authorization": "Bearer " + token}} if token else {}))
        self.c.initialize()

    def call(self, tool, **arguments):
        return self.c.call(tool, **arguments)

    def put(self, name, content=b"", mode=None):
        return self.server.put(name, content, mode)


def run_way(bin_folder, transport, isolate, wanted, race_seconds):
    """All cases of one way in; servers are shared by cases that want the same flags."""
    rows, servers = [], {}
    way = transport + (" --isolate" if isolate else "")
    for c in CASES:
        if transport not in c.on or (c.isolated is not None and c.isolated != isolate):
            continue
        if wanted and not any(w.lower() in (c.name + " " + c.text).lower() for w in wanted):
            continue
        begun = time.monotonic()
        if os.environ.get("CAGED_ATTACKS_VERBOSE"):
            print(way, c.name, c.text, flush=True)
        try:
            if c.flags not in servers:
                servers[c.flags] = client.Server(bin_folder + "/caged-mcp-server", transport, c.flags, isolate)
            server = servers[c.flags]
            # A pipe has one client for life; where there are sockets each case comes as a new one.
            if transport == "stdio" and hasattr(server, "target"):
                target = server.target
                target.dir = f"case-{c.name}-{CASES.index(c)}"
            else:
                target = server.target = Target(server, f"case-{c.name}-{CASES.index(c)}", c.flags, race_seconds)
            target.program = bin_folder + "/caged-mcp-server"
            stopped = c.run(target)
            alive = target if transport == "stdio" else Target(server, "", c.flags, 0)
            assert "content" in alive.call("file_list"), "the server does not serve afterwards"
            assert server.process.poll() is None, "the server ended"
            rows.append((c, way, stopped, None, time.monotonic() - begun))
        except Exception as e:  # noqa: BLE001 — whatever it is, the attack was not stopped
            where = traceback.format_exc(limit=-2) if not isinstance(e, AssertionError) else ""
            rows.append((c, way, "", f"{type(e).__name__}: {e} {where}", time.monotonic() - begun))
            broken = servers.pop(c.flags, None)
            if broken:
                broken.stop()
    for flags, server in servers.items():
        text = server.log_text()
        left = server.stop()
        if left or server.secret in text:
            rows.append((CASES[0], way, "", f"left processes {left}, or a secret in its log ({flags})", 0))
    return rows


def main():
    bin_folder, wanted = sys.argv[1], sys.argv[2:]
    # The long form: a twentieth of the time that was given, for each way in.
    race_seconds = max(1.0, 3 * float(os.environ.get("CAGED_SOAK_MINUTES", "0")))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run_way, bin_folder, tr, iso, wanted, race_seconds) for tr, iso in WAYS]
        rows = [row for f in futures for row in f.result()]
    rows.sort(key=lambda row: CASES.index(row[0]))
    for c, way, stopped, failed, took in rows:
        print(f"{c.name:4} {c.text} | {way} | {stopped or failed} | {'ok' if failed is None else 'FELL'} {took:.1f}s")
    fell = [row for row in rows if row[3] is not None]
    print(f"{len(rows)} attacks, {len(fell)} not stopped")
    sys.exit(1 if fell or not rows else 0)


if __name__ == "__main__":
    main()
