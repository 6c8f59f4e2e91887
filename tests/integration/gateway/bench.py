"""A server with the gateway, the fake upstream behind it, and a sandbox's token: what the tests in this folder share."""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "llm.caged.internal"


class Bench:
    def __init__(self, gateway=None, budgets=None):
        self.build = Path(os.environ["CAGED_BUILD_DIR"])
        self.folder = tempfile.TemporaryDirectory(prefix="caged-llm-")
        root = Path(self.folder.name)
        self.data = root / "data"
        self.data.mkdir(mode=0o700)
        port_file = root / "port"
        self.upstream = subprocess.Popen([os.sys.executable, "-B", str(HERE / "fake_upstream.py"), "--port-file", str(port_file)])
        wait_for(port_file.exists)
        self.upstream_url = "http://127.0.0.1:" + port_file.read_text()
        options = {
            "providers": {
                "anthropic": {"kind": "anthropic", "base_url": self.upstream_url, "api_key": "sk-ant-real-key-of-the-host"},
                "openai": {"kind": "openai", "base_url": self.upstream_url + "/v1", "api_key": "sk-openai-real-key-of-the-host"},
                "gemini": {"kind": "gemini", "base_url": self.upstream_url, "api_key": "gemini-real-key-of-the-host"},
            },
        }
        for name, value in (gateway or {}).items():
            options[name] = {**options["providers"], **value} if name == "providers" else value
        config = root / "config.yaml"
        config.write_text(json.dumps({"budgets": budgets or {}, "plugins": {"transport": {"llm": options}}}))
        config.chmod(0o600)
        self.config = config
        self.start()

    def start(self):
        (self.data / "server.json").unlink(missing_ok=True)
        self.log = open(self.data / "test.log", "ab")
        self.server = subprocess.Popen(
            [str(self.build / "bin/caged"), "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), "--config", str(self.config)], stdout=self.log, stderr=self.log)
        wait_for(lambda: (self.data / "server.json").exists() or self.server.poll() is not None)
        if self.server.poll() is not None:
            raise RuntimeError((self.data / "test.log").read_text())
        self.url = json.loads((self.data / "server.json").read_text())["address"]
        self.key = (self.data / "admin.key").read_text().strip()

    def stop(self, with_signal=signal.SIGTERM):
        self.server.send_signal(with_signal)
        self.server.wait(60)
        self.log.close()

    def close(self):
        if self.server.poll() is None:
            for box in self.api("GET", "/v1/sandboxes"):
                self.api("DELETE", "/v1/sandboxes/" + box["id"])
            self.stop()
        self.upstream.terminate()
        self.upstream.wait(10)
        self.folder.cleanup()

    def api(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": "Bearer " + self.key, "Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def seen(self):
        with urllib.request.urlopen(self.upstream_url + "/seen", timeout=10) as answer:
            return json.loads(answer.read())

    def sandbox(self, **wanted):
        """A running sandbox: (id, its environment)."""
        box = self.api("POST", "/v1/sandboxes", {"wait": True, **wanted})
        out = self.api("POST", "/v1/sandboxes/" + box["id"] + "/exec", {"command": "env -0"})["stdout"]
        return box["id"], dict(line.split("=", 1) for line in out.split("\0") if "=" in line)

    def calls(self, box, at_least=1):
        """The llm_call facts of a sandbox, once there are so many."""
        rows = []
        session = self.api("GET", "/v1/sandboxes/" + box)["session_id"]

        def there():
            nonlocal rows
            rows = [e["data"] for e in self.api("GET", f"/v1/sessions/{session}/replay?type=llm_call&limit=1000")["events"]]
            return len(rows) >= at_least
        wait_for(there)
        return rows

    def cost(self, box):
        return self.api("GET", "/v1/sandboxes/" + box)["llm_cost"]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come true")
        time.sleep(0.02)
