#!/usr/bin/env python3
"""`caged run --repo DIR -- CMD` against a real server: what it streams, answers, reports and leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

CAGED = Path(os.environ["CAGED_BUILD_DIR"]) / "bin" / "caged"

PROJECT_TESTS = '''
import os, subprocess, time, unittest

class Works(unittest.TestCase):
    def test_files(self):
        open("made.txt", "w").write("new")
        open("kept.txt", "a").write("more")
        os.remove("gone.txt")

    def test_processes(self):
        for word in ("a", "b", "c"):
            self.assertEqual(subprocess.check_output(["echo", word]).strip().decode(), word)

    def test_memory_and_time(self):
        block = bytearray(64 * 1024 * 1024)
        for i in range(0, len(block), 4096):
            block[i] = 1
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    def test_binary_output(self):
        print("caf\\u00e9", flush=True)
'''


class RunJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="caged-run-job-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.data = cls.folder / "data"
        cls.data.mkdir(mode=0o700)
        cls.env = {k: v for k, v in os.environ.items() if not k.startswith("CAGED_")}
        cls.env.update(CAGED_DATA=str(cls.data), XDG_CONFIG_HOME=str(cls.folder / "config"), PYTHONDONTWRITEBYTECODE="1")
        cls.project = cls.make_project()
        cls.start_server()

    @classmethod
    def make_project(cls):
        project = cls.folder / "project"
        (project / "tests").mkdir(parents=True)
        (project / "tests" / "__init__.py").write_text("")
        (project / "tests" / "test_works.py").write_text(PROJECT_TESTS)
        (project / "kept.txt").write_text("kept")
        (project / "gone.txt").write_text("gone")
        git = ["git", "-C", project, "-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "start"], check=True)
        return project

    @classmethod
    def start_server(cls):
        log = open(cls.folder / "server.log", "wb")
        cls.addClassCleanup(log.close)
        cls.server = subprocess.Popen([CAGED, "serve", "--data", cls.data, "--listen", "127.0.0.1:0"], env=cls.env,
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.addClassCleanup(cls.stop_server)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if cls.server.poll() is not None:
                break
            listed = subprocess.run([CAGED, "ls", "--json"], env=cls.env, capture_output=True, timeout=30)
            if listed.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError("caged serve is not ready:\n" + (cls.folder / "server.log").read_text()[-3000:])

    @classmethod
    def stop_server(cls):
        if cls.server.poll() is None:
            cls.server.send_signal(signal.SIGTERM)
            try:
                cls.server.wait(20)
            except subprocess.TimeoutExpired:
                cls.server.kill()
                cls.server.wait()
                raise

    def run_job(self, *command, repo=None, **more):
        summary_file = Path(tempfile.mkstemp(dir=self.folder, suffix=".json")[1])
        done = subprocess.run(
            [CAGED, "run", "--no-start", "--repo", repo or self.project, "--summary-json", summary_file, "--", *command],
            env=self.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, **more)
        text = summary_file.read_text()
        return done, json.loads(text) if text else None

    def said(self, done):
        return f"exit {done.returncode}\n{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"

    def test_the_projects_own_tests_run_and_are_accounted_for(self):
        done, summary = self.run_job("python3", "-m", "unittest", "-v")
        self.assertEqual(done.returncode, 0, self.said(done))
        self.assertIn("Ran 4 tests", done.stderr.decode())
        self.assertIn("caf\u00e9", done.stdout.decode())
        self.assertEqual(summary["exit_code"], 0)
        self.assertGreaterEqual(summary["wall_ms"], 300)
        self.assertLess(summary["wall_ms"], 60_000)
        self.assertGreaterEqual(summary["cpu_ms"], 250, summary)
        self.assertGreaterEqual(summary["memory_peak_bytes"], 64 << 20, summary)
        self.assertGreaterEqual(summary["processes"], 4, summary)  # python3 and three of echo
        self.assertGreaterEqual(summary["files"]["created"], 1, summary)
        self.assertGreaterEqual(summary["files"]["modified"], 1, summary)
        self.assertGreaterEqual(summary["files"]["deleted"], 1, summary)
        self.assertGreaterEqual(summary["cost"], 0)
        for words in ("exit code", "wall time", "CPU time", "memory peak", "files", "processes", "cost"):
            self.assertIn(words, done.stderr.decode())

    def test_the_hosts_folder_stays_as_it_is(self):
        self.run_job("python3", "-m", "unittest", "-q")
        status = subprocess.run(["git", "-C", self.project, "status", "--porcelain"], capture_output=True, check=True)
        self.assertEqual(status.stdout, b"")
        self.assertTrue((self.project / "gone.txt").exists())

    def test_a_failing_command_is_mirrored(self):
        done, summary = self.run_job("sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual(done.returncode, 7, self.said(done))
        self.assertEqual(done.stdout, b"out\n")
        self.assertTrue(done.stderr.startswith(b"err\n") or b"\nerr\n" in done.stderr, self.said(done))
        self.assertEqual(summary["exit_code"], 7)

    def test_a_signal_is_mirrored(self):
        done, summary = self.run_job("sh", "-c", "kill -9 $$")
        self.assertEqual(done.returncode, 128 + 9, self.said(done))
        self.assertIn("KILL", str(summary["signal"]))

    def test_output_streams_while_the_command_runs(self):
        process = subprocess.Popen(
            [CAGED, "run", "--no-start", "--", "echo first; sleep 1; echo second"], env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"first\n")
        first = time.monotonic()
        self.assertEqual(process.stdout.readline(), b"second\n")
        self.assertGreater(time.monotonic() - first, 0.7)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)

    def test_a_missing_repository_is_named(self):
        missing = self.folder / "no-such-project"
        done, summary = self.run_job("true", repo=missing)
        self.assertEqual(done.returncode, 125, self.said(done))
        self.assertIn("no-such-project", done.stderr.decode())
        self.assertIsNone(summary)

    def test_no_sandbox_is_left_behind(self):
        self.run_job("true")
        listed = subprocess.run([CAGED, "ls", "--json"], env=self.env, capture_output=True, check=True, timeout=30)
        alive = [box for box in json.loads(listed.stdout) if box["status"] not in ("destroyed", "error")]
        self.assertEqual(alive, [])


if __name__ == "__main__":
    unittest.main()
