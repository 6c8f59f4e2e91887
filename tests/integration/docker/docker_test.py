"""The Docker backend against a real engine: the contract of its kind, then sandboxes through REST, loss included."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from engine import Engine, make_template  # noqa: E402

BUILD = sys.argv.pop(1)
CAGED = os.path.join(BUILD, "bin/caged")


class Docker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="caged-docker-")
        os.mkdir(cls.folder + "/template")
        make_template(cls.folder + "/template")
        cls.engine = Engine(cls.folder)
        cls.server = None

    @classmethod
    def tearDownClass(cls):
        if cls.server is not None:
            cls.server.kill()
            cls.server.wait()
        for left in cls.engine.containers():
            cls.engine.call("DELETE", "/containers/" + left["Id"] + "?force=true")
        cls.engine.stop()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def settings(self, **more):
        return {"socket": self.engine.socket, "templates": {"host": self.folder + "/template"}, **more}

    def test_keeps_the_contract(self):
        file = self.folder + "/contract.json"
        with open(file, "w", encoding="utf-8") as out:
            json.dump(self.settings(), out)
        done = subprocess.run(
            [BUILD + "/bin/caged-plugin-check", "--config", file, BUILD + "/lib/caged/plugins/caged-vmm-docker.so"],
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.engine.containers(), [])

    def start_server(self):
        data = self.folder + "/data"
        config = self.folder + "/server.json"  # JSON is YAML
        with open(config, "w", encoding="utf-8") as out:
            json.dump({"plugins": {"vmm": {"docker": self.settings()}}}, out)
        os.chmod(config, 0o600)
        if os.path.exists(data + "/server.json"):
            os.remove(data + "/server.json")
        cls = type(self)
        with open(self.folder + "/server.log", "a", encoding="utf-8") as log:
            cls.server = subprocess.Popen(
                [CAGED, "serve", "--config", config, "--data", data, "--listen", "127.0.0.1:0"], stdout=log, stderr=log)
        self.wait_for(lambda: os.path.exists(data + "/server.json"), 60)
        with open(data + "/server.json", encoding="utf-8") as told:
            self.url = json.load(told)["address"]
        with open(data + "/admin.key", encoding="utf-8") as key:
            self.key = key.read().strip()

    def wait_for(self, ready, seconds):
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until or self.server.poll() is not None:
                with open(self.folder + "/server.log", encoding="utf-8") as log:
                    self.fail("it did not happen; the server's log:\n" + log.read()[-3000:])
            time.sleep(0.02)

    def api(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", "Bearer " + self.key)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data, timeout=120) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read() or b"null")

    def run_in(self, box, command):
        status, told = self.api("POST", "/v1/sandboxes/" + box + "/exec", {"command": command})
        self.assertEqual(status, 200, told)
        return told

    def test_sandboxes_through_rest(self):
        self.start_server()
        status, made = self.api("POST", "/v1/sandboxes", {"backend": "docker", "template": "host", "wait": True})
        self.assertIn(status, (200, 201), made)
        box = made["id"]
        self.assertEqual(made["backend"], "docker")
        told = self.run_in(box, "id -u; cat /proc/self/status")
        self.assertEqual(told["exit_code"], 0, told)
        self.assertIn("NoNewPrivs:\t1", told["stdout"])
        self.assertIn("Seccomp:\t2", told["stdout"])
        self.assertIn("CapEff:\t00000000000000fb", told["stdout"])
        self.assertEqual(self.run_in(box, "ls /sys/class/net")["stdout"].split(), ["lo"])
        self.assertNotEqual(self.run_in(box, "touch /.caged/in/x || echo x > /.caged/agent")["exit_code"], 0)
        self.assertEqual(self.run_in(box, "exit 7")["exit_code"], 7)
        self.assertEqual(self.api("POST", "/v1/sandboxes/" + box + "/pause")[0], 204)
        self.assertEqual(self.api("POST", "/v1/sandboxes/" + box + "/resume")[0], 204)
        self.run_in(box, "echo kept > /workspace/file")
        status, kept = self.api("POST", "/v1/sandboxes/" + box + "/snapshots", {"name": "one"})
        self.assertIn(status, (200, 201), kept)
        self.run_in(box, "echo lost > /workspace/file")
        status, told = self.api("POST", "/v1/snapshots/" + kept["id"] + "/restore", {})
        self.assertEqual(status, 200, told)
        self.assertEqual(self.run_in(box, "cat /workspace/file")["stdout"], "kept\n")
        self.assertEqual(self.api("DELETE", "/v1/snapshots/" + kept["id"])[0], 204)

        # The host dies; the next one finds the box, with what was in it.
        self.server.kill()
        self.server.wait()
        self.start_server()
        self.assertEqual(self.run_in(box, "cat /workspace/file")["stdout"], "kept\n")

        # The container dies; that is told within two seconds and never as a success.
        (container,) = self.engine.containers()
        self.engine.call("POST", "/containers/" + container["Id"] + "/kill?signal=KILL")
        began = time.monotonic()
        self.wait_for(lambda: self.api("GET", "/v1/sandboxes/" + box)[1]["status"] == "error", 30)
        self.assertLess(time.monotonic() - began, 2)
        self.wait_for(lambda: self.engine.containers() == [], 30)
        self.assertNotEqual(self.api("POST", "/v1/sandboxes/" + box + "/exec", {"command": "true"})[0], 200)


if __name__ == "__main__":
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        print("SKIPPED, AND THE DOCKER BACKEND IS NOT TESTED: it needs root and dockerd (Debian package docker.io).")
        sys.exit(77)
    unittest.main()
