#!/usr/bin/env python3
"""suite_test.py BUILD_DIR: the official MCP conformance suite against `caged serve` with the fixture plugin."""

import pathlib
import re
import subprocess
import sys

import packages
from world import Door, Server

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
REQUIRED = {"2025-11-25": 30, "2026-07-28": 37}


def run(node, suite, url, arguments):
    command = [node, str(suite / "node_modules/@modelcontextprotocol/conformance/dist/index.js"), "server", "--url", url, *arguments]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, cwd=suite)
    return done.returncode, done.stdout


def main():
    build = str(pathlib.Path(sys.argv[1]).resolve())
    cache = f"{build}/tests/conformance/npm"
    node = packages.node(cache + "-node")
    suite = packages.install(cache, [SUITE])
    server = Server(build, [f"{build}/tests/conformance/plugins"])
    door = Door(server.url, server.key)
    url = f"http://localhost:{door.port}/mcp"
    failures = []
    try:
        for revision, count in REQUIRED.items():
            status, text = run(node, suite, url, ["--requirements", revision])
            print(text.partition("=== SUMMARY ===")[2] or text[-6000:])
            if status != 0:
                failures.append(f"{revision}: exit status {status}")
            summary = text.partition("=== SUMMARY ===")[2]
            rows = re.findall(r"^([✓✗]) (\S+): (\d+) passed, (\d+) failed", summary, re.M)
            unscored = set(re.findall(r"^  [✓✗] (\S+) \(", summary, re.M))
            scored = [name for mark, name, _, failed in rows if name not in unscored and mark == "✓" and failed == "0"]
            if len(scored) != count:
                failures.append(f"{revision}: {len(scored)} scored scenarios pass, wanted {count}")
            # The suite does not count these; we do. What it skips (no check made) counts for neither.
            lost = [name for mark, name, _, failed in rows if name in unscored and failed != "0"]
            if lost or not unscored:
                failures.append(f"{revision}: unscored scenarios fail: {lost}")
            print(f"{revision}: {len(scored)} of {count} scored, {len(unscored) - len(lost)} of {len(unscored)} unscored")
    finally:
        door.close()
        server.stop()
    if failures:
        packages.fail("; ".join(failures))


if __name__ == "__main__":
    main()
