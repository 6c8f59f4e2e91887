"""A coding agent from a package registry, unmodified, in a sandbox without network: it edits a file by a model's answer.

The official client of a provider does the same by nothing but its environment.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

if "CAGED_SOAK_MINUTES" not in os.environ:
    print("skipped: the agent is fetched from a package registry; ./dev soak runs this")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../integration/gateway"))
from bench import Bench  # noqa: E402

AGENT = ("node /workspace/agent/node_modules/@anthropic-ai/claude-code/cli.js -p 'Change the greeting.' --model claude-sonnet-4-5--edit "
         "--allowedTools Read,Edit --max-turns 6 --output-format json </dev/null")
SDK = """python3 -c "
import anthropic
answer = anthropic.Anthropic().messages.create(model='claude-sonnet-4-5', max_tokens=50, messages=[{'role': 'user', 'content': 'hi'}])
print(answer.content[0].text.count('word'))" """


class Agent(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bench = Bench({"budget_wait_seconds": 2})
        cls.folder = tempfile.TemporaryDirectory(prefix="caged-agent-")
        cls.root = Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.bench.close()
        cls.folder.cleanup()

    def box(self, **wanted):
        self.id, _ = self.bench.sandbox(memory_mb=2048, network_mode="none", **wanted)
        self.addCleanup(self.bench.api, "DELETE", "/v1/sandboxes/" + self.id)

    def run_in(self, command, env=None):
        return self.bench.api("POST", f"/v1/sandboxes/{self.id}/exec", {"command": command, "timeout": 300, "env": env or {}})

    def bring(self, folder):
        """Puts a folder of the host into the sandbox's workspace, as `caged cp` does."""
        caged = [str(self.bench.build / "bin/caged"), "--data", str(self.bench.data)]
        subprocess.run([*caged[:1], "cp", str(folder), f"{self.id}:/workspace/", *caged[1:]], check=True, capture_output=True, timeout=300)

    def test_a_coding_agent_edits_a_file(self):
        agent = self.root / "agent"
        agent.mkdir()
        (agent / "package.json").write_text("{}")
        subprocess.run(["npm", "install", "--silent", "@anthropic-ai/claude-code@1"], cwd=agent, check=True, timeout=300)
        for extra in agent.glob("node_modules/@anthropic-ai/claude-code/vendor/ripgrep/*"):
            if extra.is_dir() and "linux" not in extra.name:
                subprocess.run(["rm", "-r", str(extra)], check=True)
        self.box(budget=5)
        self.bring(agent)
        self.bench.api("PUT", f"/v1/sandboxes/{self.id}/files/content?path=/workspace/greeting.txt", {"content": "hello\n"})
        done = self.run_in(AGENT, {"DISABLE_TELEMETRY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"})
        self.assertEqual(done["exit_code"], 0, done)
        now = self.run_in("cat /workspace/greeting.txt")["stdout"]
        self.assertEqual(now, "hello, sandbox\n", done["stdout"])
        calls = self.bench.calls(self.id, 3)
        self.assertTrue(all(c["provider"] == "anthropic" and c["outcome"] == "ok" for c in calls), calls)
        self.assertEqual(round(self.bench.cost(self.id) * 1e6), sum(c["cost_micros"] for c in calls))
        sent = [r["headers"]["x-api-key"] for r in self.bench.seen() if r["path"].startswith("/v1/messages")]
        self.assertEqual(set(sent), {"sk-ant-real-key-of-the-host"})

    def test_an_official_client_needs_only_its_environment(self):
        target = self.root / "sdk"
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "anthropic"], check=True, timeout=300)
        self.box(budget=1)
        self.bring(target)
        done = self.run_in(SDK, {"PYTHONPATH": "/workspace/sdk"})
        self.assertEqual((done["exit_code"], done["stdout"].strip()), (0, "8"), done)
        self.assertEqual(self.bench.calls(self.id)[-1]["outcome"], "ok")


if __name__ == "__main__":
    unittest.main()
