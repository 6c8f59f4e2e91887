"""Model calls from inside a sandbox, the way they go for agents: by the name, the variables and the network it was given."""

import json
import unittest

from bench import Bench

# A program as agents are: it knows nothing but its environment.
CALL = r"""
import json, os, sys, urllib.request, urllib.error
kind, model, words = sys.argv[1], sys.argv[2], int(sys.argv[3])
say = [{"role": "user", "content": "x" * words}]
url, head, body = {
    "anthropic": lambda: (os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"},
                          {"model": model, "max_tokens": 100, "stream": True, "messages": say}),
    "openai": lambda: (os.environ["OPENAI_BASE_URL"] + "/chat/completions", {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}, {"model": model, "messages": say, "max_tokens": 50}),
    "gemini": lambda: (os.environ["GOOGLE_GEMINI_BASE_URL"] + "/v1beta/models/" + model + ":generateContent", {"x-goog-api-key": os.environ["GEMINI_API_KEY"]}, {"contents": [{"parts": [{"text": "hi"}]}]}),
}[kind]()
request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **head})
try:
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(answer.status, answer.read().decode().count("word "))
except urllib.error.HTTPError as e:
    print(e.code, e.headers.get("X-Should-Retry"), e.read().decode())
"""


class Plane(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench({"budget_wait_seconds": 2})

    @classmethod
    def tearDownClass(cls):
        cls.bench.close()

    def box(self, **wanted):
        box, self.env = self.bench.sandbox(**wanted)
        self.addCleanup(self.bench.api, "DELETE", "/v1/sandboxes/" + box)
        self.bench.api("PUT", f"/v1/sandboxes/{box}/files/content?path=/workspace/call.py", {"content": CALL})
        return box

    def run_in(self, box, command):
        done = self.bench.api("POST", f"/v1/sandboxes/{box}/exec", {"command": command})
        self.assertEqual(done["exit_code"], 0, done["stderr"])
        return done["stdout"].strip()

    def test_every_kind_of_api_from_every_mode(self):
        for wanted in ({"network_mode": "none"}, {"network_mode": "allowlist", "allowlist": ["nothing.example"]}):
            with self.subTest(**wanted):
                box = self.box(budget=1, **wanted)
                for kind, model in (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4o"), ("gemini", "gemini-2.5-flash")):
                    self.assertEqual(self.run_in(box, f"python3 call.py {kind} {model} 2"), "200 8", kind)
                calls = self.bench.calls(box, 3)
                self.assertEqual([(c["provider"], c["outcome"]) for c in calls], [("anthropic", "ok"), ("openai", "ok"), ("gemini", "ok")])
                spent = sum(c["cost_micros"] for c in calls)
                self.assertGreater(spent, 0)
                self.assertEqual(round(self.bench.cost(box) * 1e6), spent)

    def test_a_spent_budget_is_refused_inside(self):
        box = self.box(network_mode="none", budget=0.0005)
        before = len(self.bench.seen())
        said = self.run_in(box, "python3 call.py anthropic claude-opus-4-1 4000")
        self.assertTrue(said.startswith("402 false"), said)
        self.assertEqual(json.loads(said.split(" ", 2)[2])["error"]["type"], "billing_error")
        self.assertEqual(len(self.bench.seen()), before)
        self.assertEqual(self.bench.calls(box)[-1]["outcome"], "refused")

    def test_the_name_leads_to_the_gateway_alone(self):
        box = self.box(network_mode="none")
        other = self.box(network_mode="none")
        say = self.run_in(box, r"""python3 - <<'X'
import os, socket
def ask(host, path, head=""):
    s = socket.create_connection(("llm.caged.internal", 80), 10)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}Connection: close\r\n\r\n".encode())
    out = b""
    while piece := s.recv(65536): out += piece
    return out.split(b" ", 2)[1].decode()
print(ask("localhost", "/v1/sandboxes"), ask("api.caged.internal", "/v1/sandboxes"), ask("llm.caged.internal", "/v1/sandboxes"), ask("llm.caged.internal", "/v1/models"))
X""").split()
        self.assertEqual(say[:2], ["403", "403"])
        self.assertEqual(say[2:], ["404", "401"])
        foreign = self.bench.api("POST", f"/v1/sandboxes/{other}/exec", {"command": "printf %s $CAGED_LLM_TOKEN"})["stdout"]
        said = self.run_in(box, f"ANTHROPIC_API_KEY={foreign[:-1]}0 python3 call.py anthropic claude-sonnet-4-5 2")
        self.assertEqual(said.split()[0], "401", said)
        said = self.run_in(box, f"ANTHROPIC_API_KEY={foreign} python3 call.py anthropic claude-sonnet-4-5 2")
        self.assertEqual(said.split()[0], "401", "a token is good in its own sandbox only: " + said)


if __name__ == "__main__":
    unittest.main()
