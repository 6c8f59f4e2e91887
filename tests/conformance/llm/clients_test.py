"""The official clients of the providers, unmodified, against the gateway and an upstream that streams and fails.

Needs the packages anthropic, openai and google-genai; without them it makes a virtual environment for itself.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

if "CAGED_SOAK_MINUTES" not in os.environ:
    print("skipped: the providers' clients are fetched from a package registry; ./dev soak runs this")
    sys.exit(77)

PACKAGES = ["anthropic", "openai", "google-genai"]

try:
    import anthropic
    import openai
    from google import genai
except ImportError:
    with tempfile.TemporaryDirectory(prefix="caged-venv-") as venv:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv + "/bin/pip", "install", "--quiet", *PACKAGES], check=True)
        sys.exit(subprocess.run([venv + "/bin/python", "-B", *sys.argv], check=False).returncode)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../integration/gateway"))
from bench import HOST, Bench  # noqa: E402

HI = [{"role": "user", "content": "hi"}]


class Gateway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench({"retries": 1, "budget_wait_seconds": 2})

    @classmethod
    def tearDownClass(cls):
        cls.bench.close()

    def box(self, **wanted):
        self.id, env = self.bench.sandbox(**wanted)
        token, url, headers = env["CAGED_LLM_TOKEN"], self.bench.url, {"Host": HOST}
        self.anthropic = anthropic.Anthropic(api_key=token, base_url=url, default_headers=headers)
        self.openai = openai.OpenAI(api_key=token, base_url=url + "/v1", default_headers=headers)
        self.gemini = genai.Client(api_key=token, http_options=genai.types.HttpOptions(base_url=url, headers=headers))
        return self.id

    def tearDown(self):
        self.bench.api("DELETE", "/v1/sandboxes/" + self.id)

    def last_call(self, n=1):
        return self.bench.calls(self.id, n)[-1]

    # ---- the answers arrive as the provider sent them, and are counted

    def test_anthropic_answers_and_streams(self):
        self.box()
        answer = self.anthropic.messages.create(model="claude-sonnet-4-5", max_tokens=100, messages=HI)
        self.assertEqual(answer.content[0].text, "word " * 8)
        with self.anthropic.messages.stream(model="claude-sonnet-4-5--out20", max_tokens=100, messages=HI) as stream:
            text = "".join(stream.text_stream)
            self.assertEqual(stream.get_final_message().usage.output_tokens, 20)
        self.assertEqual(text, "word " * 20)
        call = self.last_call(2)
        self.assertEqual(call["tokens"], {"input": 25, "output": 20, "cache_read": 10, "cache_write": 0, "reasoning": 0})
        self.assertEqual(call["cost_micros"], 25 * 3 + 20 * 15 + 3)
        self.assertFalse(call["estimated"])
        self.assertEqual(self.anthropic.messages.count_tokens(model="claude-sonnet-4-5", messages=HI).input_tokens, 12)

    def test_openai_chat(self):
        self.box()
        answer = self.openai.chat.completions.create(model="gpt-4o", messages=HI)
        self.assertEqual(answer.usage.completion_tokens, 8)
        chunks = list(self.openai.chat.completions.create(model="gpt-4o", messages=HI, stream=True))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), "word " * 8)
        self.assertTrue(all(c.choices for c in chunks), "a chunk that was not asked for arrived")
        asked = list(self.openai.chat.completions.create(model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(asked[-1].usage.completion_tokens, 8)
        for call in self.bench.calls(self.id, 3):
            self.assertEqual(call["tokens"], {"input": 20, "output": 8, "cache_read": 10, "cache_write": 0, "reasoning": 2})
            self.assertFalse(call["estimated"])

    def test_openai_responses_embeddings_models(self):
        self.box()
        self.assertEqual(self.openai.responses.create(model="gpt-5", input="hi").output_text, "word " * 8)
        with self.openai.responses.stream(model="gpt-5", input="hi") as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_response().usage.output_tokens, 8)
        self.assertEqual(self.last_call(2)["tokens"], {"input": 32, "output": 8, "cache_read": 8, "cache_write": 0, "reasoning": 3})
        self.assertEqual(self.openai.embeddings.create(model="text-embedding-3-small", input="x").usage.prompt_tokens, 5)
        self.assertEqual(self.openai.models.list().data[0].id, "gpt-4o")

    def test_gemini(self):
        self.box()
        answer = self.gemini.models.generate_content(model="gemini-2.5-flash", contents="hi")
        self.assertEqual(answer.text, "word " * 8)
        chunks = list(self.gemini.models.generate_content_stream(model="gemini-2.5-flash--out5", contents="hi"))
        self.assertEqual("".join(c.text for c in chunks), "word " * 5)
        self.assertEqual(self.last_call(2)["tokens"], {"input": 15, "output": 9, "cache_read": 5, "cache_write": 0, "reasoning": 4})

    def test_a_stream_is_not_held_back(self):
        self.box()
        import time
        times = []
        with self.anthropic.messages.stream(model="claude-sonnet-4-5--out10-slow", max_tokens=100, messages=HI) as stream:
            for _ in stream.text_stream:
                times.append(time.monotonic())
        self.assertGreater(times[-1] - times[0], 0.3)

    # ---- keys and tokens

    def test_the_key_stays_on_the_host(self):
        self.box()
        self.anthropic.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=HI)
        sent = [r for r in self.bench.seen() if r["path"] == "/v1/messages"][-1]["headers"]
        self.assertEqual(sent["x-api-key"], "sk-ant-real-key-of-the-host")
        self.assertNotIn("caged_box_", str(sent))
        out = self.bench.api("POST", f"/v1/sandboxes/{self.id}/exec", {"command": "env; cat /proc/*/environ 2>/dev/null"})["stdout"]
        self.assertNotIn("real-key-of-the-host", out)

    def test_a_foreign_token_is_refused(self):
        self.box()
        stranger = anthropic.Anthropic(api_key="caged_box_" + self.id + "_" + "0" * 64, base_url=self.bench.url, default_headers={"Host": HOST})
        with self.assertRaises(anthropic.AuthenticationError):
            stranger.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=HI)
        self.bench.api("POST", f"/v1/sandboxes/{self.id}/pause")
        with self.assertRaises(anthropic.PermissionDeniedError):
            self.anthropic.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=HI)

    # ---- faults

    def test_faults_are_tried_again_and_then_passed_on(self):
        self.box()
        self.assertEqual(self.anthropic.messages.create(model="claude-sonnet-4-5--fail500x1", max_tokens=10, messages=HI).content[0].text, "word " * 8)
        self.assertEqual(self.last_call()["attempts"], 2)
        with self.assertRaises(openai.RateLimitError):
            self.openai.with_options(max_retries=0).chat.completions.create(model="gpt-4o--fail429", messages=HI)
        call = self.last_call(2)
        self.assertEqual((call["outcome"], call["cost_micros"], call["status"]), ("error", 0, 429))

    def test_a_cut_stream_costs_what_came(self):
        for n, run in enumerate([
            lambda: list(self.anthropic.messages.create(model="claude-sonnet-4-5--out40-cut", max_tokens=100, messages=HI, stream=True)),
            lambda: list(self.openai.with_options(max_retries=0).chat.completions.create(model="gpt-4o--out40-cut", messages=HI, stream=True)),
            lambda: list(self.gemini.models.generate_content_stream(model="gemini-2.5-pro--out40-cut", contents="hi")),
        ]):
            if n == 0:
                self.box()
            with self.assertRaises(Exception):
                run()
            call = self.last_call(n + 1)
            self.assertEqual((call["outcome"], call["cut_by"], call["estimated"]), ("cut", "upstream", True))
            self.assertGreaterEqual(call["tokens"]["output"], 20)
            self.assertGreater(call["tokens"]["input"], 0)
            self.assertGreater(call["cost_micros"], 0)

    def test_a_client_that_leaves_pays_for_what_came(self):
        self.box()
        stream = self.anthropic.messages.create(model="claude-sonnet-4-5--out1000-slow", max_tokens=2000, messages=HI, stream=True)
        for i, _ in enumerate(stream):
            if i > 6:
                break
        stream.close()
        call = self.last_call()
        self.assertEqual((call["outcome"], call["cut_by"], call["tokens"]["input"]), ("cut", "client", 25))
        self.assertGreater(call["tokens"]["output"], 1)

    # ---- money

    def test_a_spent_budget_is_refused_once_and_for_all(self):
        self.box(budget=0.001)
        before = len(self.bench.seen())
        for client, kind, ask in [
            (self.anthropic, anthropic.APIStatusError, lambda: self.anthropic.messages.create(model="claude-opus-4-1", max_tokens=1000, messages=[{"role": "user", "content": "x" * 1000}])),
            (self.openai, openai.APIStatusError, lambda: self.openai.chat.completions.create(model="gpt-5-pro", messages=[{"role": "user", "content": "x" * 1000}])),
        ]:
            with self.assertRaises(kind) as caught:
                ask()
            self.assertEqual(caught.exception.status_code, 402)
            self.assertIn("budget", str(caught.exception))
        with self.assertRaises(genai.errors.ClientError) as caught:
            self.gemini.models.generate_content(model="gemini-2.5-pro", contents="x" * 5000)
        self.assertEqual(caught.exception.code, 402)
        self.assertEqual(len(self.bench.seen()), before)
        refused = [c for c in self.bench.calls(self.id, 3) if c["outcome"] == "refused"]
        self.assertEqual(len(refused), 3, "a client tried a refused call again")

    def test_a_call_is_clamped_to_what_is_left(self):
        self.box(budget=0.05)
        answer = self.anthropic.messages.create(model="claude-opus-4-1--out100000", max_tokens=20000, messages=HI)
        self.assertLess(answer.usage.output_tokens, 700)
        call = self.last_call()
        self.assertEqual(call["clamped_to"], answer.usage.output_tokens)
        self.assertLessEqual(self.bench.api("GET", "/v1/sandboxes/" + self.id)["total_cost"], 0.05)

    def test_64_spenders_never_pass_the_cap(self):
        self.box(budget=0.05)
        outcomes = []

        def spend():
            mine = self.anthropic.with_options(max_retries=0)
            for _ in range(4):
                try:
                    with mine.messages.stream(model="claude-sonnet-4-5--out100", max_tokens=100, messages=HI) as stream:
                        for _ in stream.text_stream:
                            pass
                    outcomes.append(200)
                except anthropic.APIStatusError as e:
                    outcomes.append(e.status_code)
        threads = [threading.Thread(target=spend) for _ in range(64)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        box = self.bench.api("GET", "/v1/sandboxes/" + self.id)
        self.assertEqual(set(outcomes), {200, 402})
        self.assertLessEqual(box["total_cost"], 0.05)
        self.assertGreater(box["llm_cost"], 0.046)
        ok = [c for c in self.bench.calls(self.id, 256) if c["outcome"] == "ok"]
        self.assertEqual(len(ok), outcomes.count(200))
        self.assertEqual(sum(c["cost_micros"] for c in ok), round(box["llm_cost"] * 1e6))

    def test_a_killed_server_forgets_no_cost(self):
        self.box(budget=5)
        self.anthropic.messages.create(model="claude-sonnet-4-5", max_tokens=10, messages=HI)
        before = self.bench.cost(self.id)
        stream = self.anthropic.messages.create(model="claude-sonnet-4-5--out1000-slow", max_tokens=2000, messages=HI, stream=True)
        next(iter(stream))
        self.bench.stop(signal.SIGKILL)
        self.bench.start()
        call = self.last_call(2)
        self.assertEqual(call["outcome"], "lost")
        self.assertAlmostEqual(self.bench.cost(self.id), before + call["cost_micros"] / 1e6, places=6)
        self.assertGreater(call["cost_micros"], 30000)

    def test_unknown_models_are_flagged(self):
        self.box()
        self.openai.chat.completions.create(model="nobody-knows-1", messages=HI, max_tokens=10)
        call = self.last_call()
        self.assertEqual((call["price_known"], call["price_rule"]), (False, "highest_of_provider"))

    def test_what_cannot_be_metered_is_not_passed(self):
        self.box()
        with self.assertRaises(openai.NotFoundError):
            self.openai.files.list()
        with self.assertRaises(openai.BadRequestError):
            self.openai.responses.create(model="gpt-5", input="hi", background=True)


class Failover(unittest.TestCase):
    def test_another_provider_takes_over(self):
        bench = Bench({"retries": 0, "bodies": "record", "providers": {
            "dead": {"kind": "anthropic", "base_url": "http://127.0.0.1:9", "models": ["claude-x"], "failover": ["anthropic"]},
            "local": {"kind": "openai", "base_url": "http://127.0.0.1:9", "models": ["llama*"], "free": True}}})
        try:
            box, env = bench.sandbox()
            client = anthropic.Anthropic(api_key=env["CAGED_LLM_TOKEN"], base_url=bench.url, default_headers={"Host": HOST}, max_retries=0)
            self.assertEqual(client.messages.create(model="claude-x", max_tokens=10, messages=HI).content[0].text, "word " * 8)
            call = bench.calls(box)[-1]
            self.assertEqual((call["provider"], call["attempts"]), ("anthropic", 2))
            self.assertIn("hi", call["request"])
            self.assertIn("word word", call["answer"])
            local = openai.OpenAI(api_key=env["CAGED_LLM_TOKEN"], base_url=bench.url + "/v1", default_headers={"Host": HOST}, max_retries=0)
            with self.assertRaises(openai.InternalServerError):
                local.chat.completions.create(model="llama3", messages=HI)
            self.assertEqual(bench.calls(box, 2)[-1]["outcome"], "error")
        finally:
            bench.close()


if __name__ == "__main__":
    unittest.main()
