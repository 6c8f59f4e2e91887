"""Vite's development server in a sandbox, as it comes: pages, modules and hot reload through a preview."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest
import urllib.request

if "CAGED_SOAK_MINUTES" not in os.environ:
    print("skipped: Vite is fetched from a package registry; ./dev soak runs this")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../integration/gateway"))
from bench import Bench, wait_for  # noqa: E402

FILES = {
    "package.json": '{"name":"site","type":"module"}',
    "index.html": '<!doctype html><script type="module" src="/main.js"></script>',
    "main.js": 'import {x} from "./dep.js"; console.log(x); if (import.meta.hot) import.meta.hot.accept("./dep.js", () => {});',
    "dep.js": "export const x = 1",
}


class Vite(unittest.TestCase):
    def test_pages_modules_and_hot_reload(self):
        with tempfile.TemporaryDirectory(prefix="caged-vite-") as site:
            for name, text in FILES.items():
                with open(os.path.join(site, name), "w", encoding="utf-8") as f:
                    f.write(text)
            subprocess.run(["npm", "install", "--silent", "vite@6"], cwd=site, check=True)
            bench = Bench()
            try:
                self.check(bench, bench.sandbox(repo=site)[0])
            finally:
                bench.close()

    def check(self, bench, box):
        bench.api("POST", f"/v1/sandboxes/{box}/exec", {"command": "cd /workspace; setsid node node_modules/vite/bin/vite.js --port 5173 >/tmp/vite.log 2>&1 &"})
        wait_for(lambda: 5173 in [p["port"] for p in bench.api("GET", f"/v1/sandboxes/{box}/ports")], 60)
        port = bench.url.rsplit(":", 1)[1]
        host = f"{box}-5173.preview.localhost:{port}"

        def get(path):
            with urllib.request.urlopen(urllib.request.Request(bench.url + path, headers={"Host": host}), timeout=30) as answer:
                return answer.read().decode()
        self.assertIn("/@vite/client", get("/"))
        self.assertIn("createHotContext", get("/main.js"))
        self.assertIn("x = 1", get("/dep.js"))
        token = re.search(r'wsToken = "([^"]+)"', get("/@vite/client")).group(1)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as s:
            s.sendall((f"GET /?token={token} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Protocol: vite-hmr\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
            seen = b""
            while b'"connected"' not in seen:
                seen += s.recv(4096)
            bench.api("PUT", f"/v1/sandboxes/{box}/files/content?path=/workspace/dep.js", {"content": "export const x = 2"})
            while b"js-update" not in seen:
                seen += s.recv(4096)
        self.assertIn("x = 2", get("/dep.js"))


if __name__ == "__main__":
    unittest.main()
