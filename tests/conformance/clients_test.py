#!/usr/bin/env python3
"""clients_test.py BUILD_DIR: official MCP clients against caged-mcp-server on stdio, Streamable HTTP and WebSocket."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import packages

CLIENTS = ["@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/client@2.4.0", "@modelcontextprotocol/inspector@2.12.0"]
TOKEN = "a-token-for-this-test"


def listening(program, workspace, mode, token):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CAGED_")}
    if token:
        environment["CAGED_MCP_TOKEN"] = token
    server = subprocess.Popen([program, "--mode", mode, "--port", "0", "--workspace", workspace], stderr=subprocess.PIPE, text=True, env=environment)
    line = server.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    if not found:
        server.kill()
        packages.fail(f"--mode {mode} did not start: {line}")
    return server, int(found.group(1))


def main():
    build = str(pathlib.Path(sys.argv[1]).resolve())
    cache = f"{build}/tests/conformance/npm-clients"
    node = packages.node(f"{build}/tests/conformance/npm-node")
    modules = packages.install(cache, CLIENTS)
    program = f"{build}/bin/caged-mcp-server"
    workspace = tempfile.mkdtemp(prefix="caged-clients-")
    servers = []
    try:
        http, http_port = listening(program, workspace, "http", TOKEN)
        servers.append(http)
        ws, ws_port = listening(program, workspace, "ws", "")
        servers.append(ws)
        script = modules / "clients.mjs"
        shutil.copy(pathlib.Path(__file__).parent / "clients.mjs", script)
        subprocess.run([node, str(script), program, workspace, f"http://127.0.0.1:{http_port}/mcp", f"ws://127.0.0.1:{ws_port}/mcp", TOKEN],
                       check=True, timeout=120, cwd=modules)
        inspector = next((modules / "node_modules/@modelcontextprotocol/inspector").glob("package.json"))
        entry = json.loads(inspector.read_text())["bin"]["mcp-inspector"]
        for era in ("legacy", "modern"):
            subprocess.run([node, str(inspector.parent / entry), "--cli", program, "--protocol-era", era, "--method", "tools/list", "--strict"],
                           check=True, timeout=60, cwd=workspace, stdout=subprocess.DEVNULL, env=dict(os.environ, PATH=str(pathlib.Path(node).parent) + ":" + os.environ["PATH"]))
            print("ok inspector " + era)
    finally:
        for server in servers:
            server.terminate()
        deadline = time.monotonic() + 20
        for server in servers:
            try:
                server.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.kill()
        shutil.rmtree(workspace, ignore_errors=True)


if __name__ == "__main__":
    main()
