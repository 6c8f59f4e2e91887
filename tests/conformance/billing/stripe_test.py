"""billing.stripe against Stripe's own mock, which holds every request to Stripe's published interface."""

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

if "CAGED_SOAK_MINUTES" not in os.environ:
    print("skipped: Stripe's mock is fetched from the Go module proxy; ./dev soak runs this")
    sys.exit(77)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true")


class Stripe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="caged-stripe-")
        root = Path(cls.folder.name)
        env = {**os.environ, "GOBIN": str(root / "bin"), "GOPATH": str(root / "go"), "GOFLAGS": "-modcacherw"}
        subprocess.run(["go", "install", "github.com/stripe/stripe-mock@latest"], env=env, check=True)
        log = root / "mock.log"
        with open(log, "wb") as out:
            cls.mock = subprocess.Popen([root / "bin/stripe-mock", "-http-addr", "127.0.0.1:0"], stdout=out, stderr=out)
        address = wait_for(lambda: re.search(r"HTTP at address: (\S+)", log.read_text()))
        (root / "key").write_text("sk_test_123\n")
        (root / "hook").write_text("whsec_test\n")
        for name in ("key", "hook"):
            (root / name).chmod(0o600)
        stripe = {"key_file": str(root / "key"), "webhook_secret_file": str(root / "hook"), "base_url": "http://" + address[1],
                  "prices": {"pro": "price_1"}}
        config = root / "config.yaml"
        config.write_text(json.dumps({"budgets": {"interval": "1s"}, "plugins": {"billing": {"stripe": stripe}}}))
        config.chmod(0o600)
        data = root / "data"
        data.mkdir(mode=0o700)
        caged = str(Path(os.environ["CAGED_BUILD_DIR"]) / "bin/caged")
        cls.log = open(root / "caged.log", "wb")
        cls.server = subprocess.Popen([caged, "serve", "--listen", "127.0.0.1:0", "--data", str(data), "--config", str(config)],
                                      stdout=cls.log, stderr=cls.log)
        wait_for(lambda: (data / "server.json").exists() or cls.server.poll() is not None)
        cls.url = json.loads((data / "server.json").read_text())["address"]
        cls.key = (data / "admin.key").read_text().strip()

    @classmethod
    def tearDownClass(cls):
        for process in (cls.server, cls.mock):
            process.terminate()
            process.wait(60)
        cls.log.close()
        cls.folder.cleanup()

    def api(self, method, path, body=None, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, method=method, headers={
            "authorization": "Bearer " + self.key, "content-type": "application/json", **(headers or {})})
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def test_usage_is_taken(self):
        box = self.api("POST", "/v1/sandboxes", {"wait": True})
        self.addCleanup(self.api, "DELETE", "/v1/sandboxes/" + box["id"])
        first = wait_for(lambda: self.api("GET", "/v1/billing/usage")["last_reported_at"])
        time.sleep(2)
        wait_for(lambda: self.api("GET", "/v1/billing/usage")["last_reported_at"] > first)
        self.assertGreater(self.api("GET", "/v1/billing/usage")["reported_minutes"], 0)

    def test_subscribing_and_managing(self):
        self.assertTrue(self.api("POST", "/v1/billing/checkout", {"plan_id": "pro"})["url"].startswith("http"))
        self.assertTrue(self.api("POST", "/v1/billing/portal", {})["url"].startswith("http"))
        customer = self.api("GET", "/v1/billing/subscription")["customer_id"]
        self.assertTrue(customer.startswith("cus_"))
        self.hook({"id": "evt_1", "type": "customer.subscription.created", "created": 10, "data": {"object": {
            "id": "sub_1", "customer": customer, "status": "active", "items": {"data": [{"price": {"id": "price_1"}}]}}}})
        found = self.api("GET", "/v1/billing/subscription")
        self.assertEqual((found["tier"], found["status"]), ("pro", "active"))
        # Older than what is known, and one that nobody signed.
        self.hook({"id": "evt_0", "type": "customer.subscription.updated", "created": 5, "data": {"object": {
            "id": "sub_1", "customer": customer, "status": "incomplete"}}})
        self.assertEqual(self.api("GET", "/v1/billing/subscription")["status"], "active")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.hook({"id": "evt_2"}, "wrong")
        self.assertEqual(refused.exception.code, 401)
        self.api("POST", "/v1/billing/cancel", {})

    def hook(self, event, secret="whsec_test"):
        body, now = json.dumps(event).encode(), str(int(time.time()))
        signature = hmac.new(secret.encode(), now.encode() + b"." + body, hashlib.sha256).hexdigest()
        self.api("POST", "/v1/billing/stripe/webhook", body, {"stripe-signature": f"t={now},v1={signature}"})


if __name__ == "__main__":
    unittest.main()
