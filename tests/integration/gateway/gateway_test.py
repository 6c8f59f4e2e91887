"""Model calls of sandboxes: passed through, counted, priced, held to the budget; secrets; what all of it cost."""

import json
import subprocess
import threading
import unittest
import urllib.error
import urllib.request

from bench import HOST, Bench


class Gateway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench({"budget_wait_seconds": 2})

    @classmethod
    def tearDownClass(cls):
        cls.bench.close()

    def setUp(self):
        self.boxes = []

    def tearDown(self):
        for box in self.boxes:
            self.bench.api("DELETE", "/v1/sandboxes/" + box)

    def box(self, **wanted):
        box, self.env = self.bench.sandbox(**wanted)
        self.token = self.env["CAGED_LLM_TOKEN"]
        self.boxes.append(box)
        return box

    def post(self, path, body, token=None, headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.bench.url + path, method="POST", data=data, headers={
            "Host": HOST, "Content-Type": "application/json", "Authorization": "Bearer " + (token or self.token), **dict(headers)})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode(), e.headers

    def test_bad_requests_cost_nothing(self):
        box = self.box()
        for body in (b"", b"{", b"[]", b"{}", b'{"model":"x","model":"y"}', b'{"model":"gpt-4o","max_tokens":0}', b'{"model":"gpt-4o","n":99999}', b'{"model":7}'):
            self.assertEqual(self.post("/v1/chat/completions", body)[0], 400, body)
        self.assertEqual(self.post("/v1/files", {})[0], 404)
        self.assertEqual(self.post("/v1/chat/completions", {"model": "gpt-4o"}, token="caged_box_" + box + "_" + "0" * 64)[0], 401)
        self.assertEqual(self.post("/v1/chat/completions", {"model": "gpt-4o"}, token=self.bench.key)[0], 401)
        self.assertEqual(self.bench.cost(box), 0)

    def test_every_api_is_counted(self):
        box = self.box()
        chat = {"model": "gpt-4o", "messages": []}
        for path, body, tokens in (
            ("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": True}, {"input": 25, "output": 8, "cache_read": 10, "cache_write": 0, "reasoning": 0}),
            ("/v1/chat/completions", {**chat, "stream": True}, {"input": 20, "output": 8, "cache_read": 10, "cache_write": 0, "reasoning": 2}),
            ("/v1/chat/completions", chat, {"input": 20, "output": 8, "cache_read": 10, "cache_write": 0, "reasoning": 2}),
            ("/v1/responses", {"model": "gpt-4o", "input": "x", "stream": True}, {"input": 32, "output": 8, "cache_read": 8, "cache_write": 0, "reasoning": 3}),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", {"contents": []}, {"input": 15, "output": 12, "cache_read": 5, "cache_write": 0, "reasoning": 4}),
        ):
            before = len(self.bench.calls(box, 0))
            status, text, _ = self.post(path, body)
            self.assertEqual(status, 200, text)
            call = self.bench.calls(box, before + 1)[-1]
            self.assertEqual(call["tokens"], tokens, path)
            self.assertEqual((call["outcome"], call["estimated"], call["price_known"]), ("ok", False, True))
        shown = self.bench.api("GET", "/v1/sandboxes/" + box)
        self.assertAlmostEqual(shown["total_cost"], shown["cost"] + shown["llm_cost"], places=5)
        usage = self.bench.api("GET", "/v1/billing/usage?sandbox_id=" + box)
        self.assertEqual(usage["calls"], 5)
        self.assertAlmostEqual(usage["llm_cost"], shown["llm_cost"], places=6)
        session = self.bench.api("GET", f"/v1/sandboxes/{box}/sessions")[0]
        self.assertEqual((session["tokens_in"], session["tokens_out"]), (35 + 30 + 30 + 40 + 20, 8 + 8 + 8 + 8 + 12))
        self.assertAlmostEqual(session["llm_cost"], shown["llm_cost"], places=6)
        self.assertIn("openai/gpt-4o", [m["model"] for m in usage["models"]])
        out = self.caged("cost", box)
        self.assertIn("openai/gpt-4o", out.stdout)

    def test_a_spent_budget_is_refused(self):
        box = self.box(budget=0.0005)
        status, text, headers = self.post("/v1/messages", {"model": "claude-opus-4-1", "max_tokens": 4000, "messages": "x" * 500})
        self.assertEqual((status, headers["X-Should-Retry"]), (402, "false"))
        self.assertEqual(json.loads(text)["error"]["type"], "billing_error")
        self.assertEqual(self.bench.calls(box)[-1]["outcome"], "refused")

    def test_64_spenders_never_pass_the_cap(self):
        box = self.box(budget=0.02)
        outcomes = []

        def spend():
            for _ in range(2):
                outcomes.append(self.post("/v1/messages", {"model": "claude-sonnet-4-5--out100", "max_tokens": 100, "stream": True})[0])
        threads = [threading.Thread(target=spend) for _ in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(set(outcomes), {200, 402})
        shown = self.bench.api("GET", "/v1/sandboxes/" + box)
        self.assertLessEqual(shown["total_cost"], 0.02)
        spent = sum(c["cost_micros"] for c in self.bench.calls(box, 128))
        self.assertEqual(spent, round(shown["llm_cost"] * 1e6))
        self.assertGreater(spent, 17000)

    def test_the_sandbox_holds_a_token_and_no_key(self):
        self.box()
        self.assertEqual(self.env["ANTHROPIC_BASE_URL"], "http://llm.caged.internal")
        self.assertEqual(self.env["OPENAI_BASE_URL"], "http://llm.caged.internal/v1")
        self.assertTrue(self.env["OPENAI_API_KEY"].startswith("caged_box_"))
        self.post("/v1/chat/completions", {"model": "gpt-4o"})
        self.assertNotIn("caged_box_", str(self.bench.seen()[-1]))
        kept = b"".join(p.read_bytes() for p in self.bench.data.rglob("*") if p.is_file())
        self.assertNotIn(self.token.encode(), kept)

    def caged(self, *words, **more):
        return subprocess.run([str(self.bench.build / "bin/caged"), *words, "--data", str(self.bench.data)], capture_output=True, text=True, timeout=60, check=False, **more)

    def test_secrets_are_given_and_nowhere_written(self):
        for bad in (("9x", "long enough"), ("short", "abc")):
            self.assertEqual(self.caged("secrets", "set", *bad).returncode, 1)
        self.assertEqual(self.caged("secrets", "set", "DEPLOY_KEY", input="correct horse battery\n").returncode, 0)
        box = self.box(secrets=["DEPLOY_KEY"])
        self.assertEqual(self.env["DEPLOY_KEY"], "correct horse battery")
        self.bench.api("POST", f"/v1/sandboxes/{box}/exec", {"command": "echo correct horse battery; correct horse battery"})
        self.assertNotIn("correct horse", json.dumps(self.bench.api("GET", "/v1/sandboxes/" + box)) + self.caged("secrets", "list").stdout)
        kept = b"".join(p.read_bytes() for p in self.bench.data.rglob("*") if p.is_file())
        self.assertNotIn(b"correct horse battery", kept)
        self.bench.stop()
        self.bench.start()
        self.assertIn("DEPLOY_KEY", self.caged("secrets", "ls").stdout)
        self.assertEqual(self.caged("secrets", "rm", "DEPLOY_KEY").returncode, 0)
        self.assertEqual(self.caged("secrets", "rm", "DEPLOY_KEY").returncode, 1)
        with self.assertRaises(urllib.error.HTTPError):
            self.bench.api("POST", "/v1/sandboxes", {"secrets": ["DEPLOY_KEY"]})


if __name__ == "__main__":
    unittest.main()
