#!/usr/bin/env python3
"""Ways round the egress plane: each tried inside a real sandbox, each against servers that are really there.

A case counts as stopped only when it ran and when what stopped it was seen: the rule, the error, the end.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAGED = Path(os.environ["CAGED_BUILD_DIR"]) / "bin" / "caged"
ADDRESSES = ["203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13", "203.0.113.14", "203.0.113.15", "203.0.113.20",
             "203.0.113.53", "198.51.100.1", "10.1.2.3", "169.254.169.254", "2001:db8::10", "2001:db8::20"]
CONFIG = {
    "network": {"resolvers": ["203.0.113.53"], "allow_inner": ["203.0.113.0/24", "2001:db8::/32"]},
    "policies": {"use": []},  # they would pause a sandbox that tries such things
}
ALLOWED = ["good.example", "fine.example", "*.wild.example", "**.any.example", "port.example:8080", "203.0.113.14:7000",
           "private.example", "loop.example", "meta.example", "own.example", "mapped.example", "nat64.example",
           "alias.example", "rebind.example", "xn--bcher-kva.example", "crowd.example"]
CROWD = 10_000


class Bypass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import test_hosts as hosts
        cls.folder = Path(tempfile.mkdtemp(prefix="caged-bypass-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        context = hosts.certificate(cls.folder)
        cls.names = hosts.NameServer("203.0.113.53")
        cls.names.start()
        for address in ADDRESSES:
            hosts.serve(address, 80, hosts.web)
            for port in (443, 853, 8443):
                hosts.serve(address, port, hosts.web, context)
        for address, port, answer in [("203.0.113.13", 8080, hosts.web), ("203.0.113.14", 7000, hosts.greet),
                                      ("203.0.113.14", 7001, hosts.greet), ("203.0.113.10", 7001, hosts.greet),
                                      ("203.0.113.20", 7001, hosts.greet), ("2001:db8::20", 7001, hosts.greet),
                                      ("127.0.0.1", 9099, hosts.greet), ("::1", 9099, hosts.greet)]:
            hosts.serve(address, port, answer)
        cls.crowd = hosts.Crowd("203.0.113.15", 7002)
        cls.crowd.start()
        cls.sockets = []
        for address in ("\0caged-bypass-test", str(cls.folder / "host.socket")):
            s = socket.socket(socket.AF_UNIX)
            s.bind(address)
            s.listen()
            cls.sockets.append(s)
            cls.addClassCleanup(s.close)
        cls.start_server()

    @classmethod
    def start_server(cls):
        data, config = cls.folder / "data", cls.folder / "config.yaml"
        data.mkdir(mode=0o700)
        config.write_text(json.dumps(CONFIG))
        config.chmod(0o600)
        env = {k: v for k, v in os.environ.items() if not k.startswith("CAGED_") and "proxy" not in k.lower()}
        cls.env = {**env, "CAGED_DATA": str(data), "XDG_CONFIG_HOME": str(cls.folder / "client")}
        log = open(cls.folder / "server.log", "wb")
        cls.addClassCleanup(log.close)
        cls.server = subprocess.Popen([CAGED, "serve", "--data", data, "--config", config, "--listen", "127.0.0.1:0"],
                                      env=cls.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.boxes = []
        cls.addClassCleanup(cls.stop_server)
        cls.until(lambda: (data / "server.json").exists() or cls.server.poll() is not None, "the server is there")
        if cls.server.poll() is not None:
            raise RuntimeError((cls.folder / "server.log").read_text())
        cls.url = json.loads((data / "server.json").read_text())["address"]
        cls.key = (data / "admin.key").read_text().strip()
        cls.box = cls.sandbox(ALLOWED)

    @classmethod
    def stop_server(cls):
        if cls.server.poll() is None:
            for box in cls.boxes:
                cls.api("DELETE", f"/v1/sandboxes/{box}")
            cls.server.send_signal(signal.SIGTERM)
        cls.server.wait(60)

    @staticmethod
    def until(condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"it did not come true in {seconds} s: {what}")
            time.sleep(0.05)

    @classmethod
    def api(cls, method, path, body=None):
        head = {"Authorization": "Bearer " + cls.key, "Content-Type": "application/json"}
        request = urllib.request.Request(cls.url + path, method=method, headers=head, data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    @classmethod
    def sandbox(cls, allowed):
        box = cls.api("POST", "/v1/sandboxes", {"wait": True, "network_mode": "allowlist", "allowlist": allowed})["id"]
        cls.boxes.append(box)
        cls.api("PUT", f"/v1/sandboxes/{box}/files/content?path=/workspace/inside.py", {"content": (HERE / "inside.py").read_text()})
        return box

    def run_inside(self, cases, box=None):
        """Tries (what, expression) pairs: what → what was said."""
        box = box or self.box
        given = {"values": {"API": int(self.url.rsplit(":", 1)[1]), "HOST_SOCKET": str(self.folder / "host.socket")},
                 "cases": [{"what": what, "do": do} for what, do in cases]}
        self.api("PUT", f"/v1/sandboxes/{box}/files/content?path=/workspace/cases.json", {"content": json.dumps(given)})
        done = self.api("POST", f"/v1/sandboxes/{box}/exec", {"command": "python3 /workspace/inside.py /workspace/cases.json", "timeout": 110})
        self.assertEqual(done["exit_code"], 0, done["stderr"])
        return {row["what"]: row["said"] for row in json.loads(done["stdout"])}

    def start_inside(self, script, box=None):
        process = subprocess.Popen([CAGED, "exec", box or self.box, "--", "python3", "-u", "-c", script], env=self.env, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        return process

    def denied(self, box=None):
        session = self.api("GET", f"/v1/sandboxes/{box or self.box}")["session_id"]
        out, after = [], 0
        while True:
            page = self.api("GET", f"/v1/sessions/{session}/replay?type=network&limit=1000&after_seq={after}")
            out += [e["data"] for e in page["events"] if e["data"].get("verdict") == "deny"]
            if not page["has_more"]:
                return out
            after = page["next_seq"]

    def set_allowed(self, names, box=None):
        subprocess.run([CAGED, "network", "set", box or self.box, "--allow", ",".join(names)], env=self.env, check=True, capture_output=True, timeout=60)

    def test_what_is_allowed_works(self):
        import cases
        for what, said in self.run_inside(cases.THROUGH, self.sandbox(ALLOWED)).items():
            with self.subTest(what):
                self.assertIn("REACHED", said)

    def test_nothing_gets_round(self):
        import cases
        self.sandbox_listens()
        said = self.run_inside([(what, do) for what, do, *_ in cases.STOPPED])
        told = self.denied()
        print(f"\n{len(cases.STOPPED)} ways round, and what stopped each:")
        for what, _, expected, *journal in cases.STOPPED:
            with self.subTest(what):
                text = said[what].replace("\n", " ")
                rule = re.search(r'"rule":"(\w+)"', text)
                by = "rule " + rule[1] if rule else text[:70]
                rows = []
                if journal:
                    rows = [t for t in told if re.fullmatch(journal[0][0], t["rule"]) and (journal[0][1] == t.get("address") or str(t["host"]).endswith(journal[0][1]))]
                    by += f" (rule {rows[0]['rule']})" if rows else ""
                print(f"  {what:58} {by}")
                self.assertNotIn("REACHED", text)
                self.assertNotIn("BROKEN", text)
                self.assertRegex(text, expected)
                self.assertTrue(rows or not journal, f"the journal has no {journal} for: {text}")
        for name in ("denied.example", "evilany.example", "shared.example"):
            self.assertNotIn(name, self.names.asked, "a name that is not allowed was asked for")

    def sandbox_listens(self):
        """Another sandbox with a service, for those that look for it."""
        other = self.sandbox(["good.example"])
        listening = self.start_inside("import socket; s = socket.create_server(('', 5555)); print('ready', flush=True)\n"
                                      "while True: s.accept()[0].sendall(b'REACHED another sandbox')", other)
        self.assertEqual(listening.stdout.readline().strip(), "ready")

    def test_a_wildcard_over_a_public_suffix_is_refused(self):
        for pattern in ("*", "*.com", "**.co.uk", "*.example", "0.0.0.0/0", "**.com:443"):
            with self.subTest(pattern), self.assertRaises(urllib.error.HTTPError) as caught:
                self.api("PATCH", f"/v1/sandboxes/{self.box}", {"allowlist": [pattern]})
            self.assertIn(caught.exception.code, (400, 422))

    def test_a_change_cuts_and_opens(self):
        box = self.sandbox(["good.example"])
        fetch = [("x", "http('203.0.113.11', 'other.example')")]
        self.assertIn('"rule":"not_allowed"', self.run_inside(fetch, box)["x"])
        self.set_allowed(["good.example", "other.example"], box)
        self.assertIn("REACHED", self.run_inside(fetch, box)["x"])
        # A daemon from before the change: its kept connection is cut, a new one refused, the one still allowed lives.
        daemon = self.start_inside("""
import socket, sys
ask = lambda s, host: (s.sendall(b'GET / HTTP/1.1\\r\\nHost: ' + host + b'\\r\\n\\r\\n'), s.recv(1000))[1]
kept = socket.create_connection(('other.example', 80)); ask(kept, b'other.example')
fine = socket.create_connection(('good.example', 80)); ask(fine, b'good.example')
address = kept.getpeername()
print('ready', flush=True)
try: left = kept.recv(1000)
except OSError: left = b''
print('cut' if not left else 'more')
try: print('reused' if ask(kept, b'other.example') else 'closed')
except OSError: print('closed')
print('refused' if b'"rule":"not_allowed"' in ask(socket.create_connection(address), b'other.example') else 'open')
print('lives' if b'REACHED' in ask(fine, b'good.example') else 'dead')
""", box)
        self.assertEqual(daemon.stdout.readline().strip(), "ready")
        self.set_allowed(["good.example"], box)
        self.assertEqual(daemon.stdout.read().split(), ["cut", "closed", "refused", "lives"])

    def test_floods_leave_room_for_the_rest(self):
        """Silent and slow clients, a thousand of each, beside ordinary requests."""
        self.sandbox_under("slow clients", """
import socket, time, threading
held = []
for i in range(1000):  # a letter now and then
    s = socket.socket(); s.setblocking(False); s.connect_ex(('203.0.113.10', 80)); held.append(s)
for i in range(1000):  # nothing at all
    s = socket.socket(); s.setblocking(False); s.connect_ex(('203.0.113.20', 443)); held.append(s)
print('ready', flush=True)
began, text, at = time.time(), b'GET / HTTP/1.1\\r\\nHost: good.example\\r\\nX: ', 0
open_now = set(held[:1000])
while open_now and time.time() - began < 60:
    for s in list(open_now):
        try:
            s.send(text[at:at + 1] or b'x')
            if s.recv(4096) == b'': open_now.discard(s)
        except BlockingIOError: pass
        except OSError: open_now.discard(s)
    at += 1; time.sleep(1)
print('ended', len(open_now))
""", r"ended 0")

    def test_ten_thousand_connections(self):
        """All are answered as far as the server's descriptors go; the rest is turned away, and nobody else notices."""
        began = time.monotonic()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        least = min(CROWD, int(0.88 * (descriptors - 1024) / 2))
        text = self.sandbox_under("10,000 connections", f"""
import resource, sys
sys.path.insert(0, '/workspace')
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
from inside import many
print('ready', flush=True)
print('answered', many({CROWD}, '203.0.113.15', 7002, b'!\\n')[1])
""", r"answered \d+", ["good.example", "203.0.113.15"])
        answered = int(text.split()[-1])
        print(f"{answered} of {CROWD} connections of one sandbox answered and held in {time.monotonic() - began:.1f} s, with {descriptors} descriptors")
        self.assertGreaterEqual(answered, least)
        self.assertGreaterEqual(self.crowd.most, least)

    def sandbox_under(self, what, script, expected, allowed=("good.example",)):
        box = self.sandbox(list(allowed))
        attack = self.start_inside(script, box)
        self.assertEqual(attack.stdout.readline().strip(), "ready")
        neighbour = self.run_inside([("x", "http('good.example', 'good.example')")])["x"]
        self.assertIn("REACHED", neighbour, f"under {what} of another sandbox")
        out = attack.stdout.read()
        self.assertRegex(out, expected)
        self.assertIn("REACHED", self.run_inside([("x", "http('good.example', 'good.example')")], box)["x"])
        return out


def prepare():
    """A network namespace of our own, with the test's addresses; the sandboxes' host is in it, too."""
    if os.environ.get("CAGED_BYPASS_INSIDE") == "1":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in ADDRESSES:
            subprocess.run(["ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])], check=True)
        return
    flags = ["--net"] if os.geteuid() == 0 else ["--net", "--user", "--map-root-user"]
    os.environ["CAGED_BYPASS_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, "-B", *sys.argv])


if __name__ == "__main__":
    prepare()
    sys.path.insert(0, str(HERE))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    threading.stack_size(256 * 1024)
    unittest.main(verbosity=1)
