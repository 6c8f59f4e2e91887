#!/usr/bin/env python3
"""The ./dev script's own judgement: guesses, truthful exit codes, refusals. Installs and builds nothing."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """
set -euo pipefail
root={root}; jobs=2
say() {{ echo "$*" >&2; }}
die() {{ echo "error: $1" >&2; [ $# -lt 2 ] || echo "  what to do: $2" >&2; exit "${{3:-1}}"; }}
for part in setup build test run bench check; do source {source}/cmake/dev/$part.sh; done
"""


class DevScript(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def bash(self, script, path=None):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        if path:
            env["PATH"] = f"{path}:{env['PATH']}"
        prelude = PRELUDE.format(root=self.folder, source=ROOT)
        return subprocess.run(["bash", "-c", prelude + script], cwd=ROOT, env=env, capture_output=True, text=True,
                              timeout=30)

    def program(self, name, body):
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
        return folder

    def guess(self, **files):
        for name, text in files.items():
            target = self.folder / "p" / name.replace("__", "/").replace("_dot_", ".")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (self.folder / "p").mkdir(exist_ok=True)
        return self.bash(f'test_command=(); guess_test {self.folder}/p; echo "${{test_command[*]}}"')

    def test_guesses_the_test_command(self):
        self.assertEqual(self.guess(tests__test_a_dot_py="").stdout, "python3 -m pytest -q\n")
        self.assertEqual(self.guess(src__a_dot_py="").stdout, "env PYTHONPATH=src python3 -m pytest -q\n")
        self.assertEqual(self.guess(package_dot_json='{"scripts":{"test":"x"}}').stdout, "npm test\n")
        self.assertEqual(self.guess(Cargo_dot_toml="").stdout, "cargo test\n")
        self.assertEqual(self.guess(go_dot_mod="").stdout, "go test ./...\n")

    def test_guesses_make(self):
        self.assertEqual(self.guess(Makefile="all:\ntest:\n").stdout, "make test\n")
        self.assertEqual(self.guess(Makefile="test:\ncheck: test\n").stdout, "make check\n")

    def test_says_that_it_cannot_guess(self):
        done = self.guess(README="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("found no tests", done.stderr)
        self.assertIn("what to do", done.stderr)

    def conclude(self, *records):
        lines = "\n".join(f"record {r}" for r in records)
        return self.bash(f'report={self.folder}/r; mkdir -p "$report"; test_total=0 test_failed=0\n{lines}\nconclude 9')

    def test_success_is_said_in_the_words_of_ctest(self):
        done = self.conclude('ctest 10 0 5 ""', 'asan 4 0 5 ""')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("\n100% tests passed, 0 tests failed out of 14\n", done.stdout)

    def test_one_failed_phase_fails_all(self):
        done = self.conclude('ctest 1000 0 5 ""', 'tsan 1 1 5 "the build failed"')
        self.assertEqual(done.returncode, 1)
        self.assertIn("\n99% tests passed, 1 tests failed out of 1001\n", done.stdout)

    def test_no_test_is_no_success(self):
        self.assertEqual(self.conclude().returncode, 1)

    def run_ctest(self, body):
        path = self.program("ctest", body)
        script = f'''report={self.folder}/r; mkdir -p "$report"; selection=(); test_total=0 test_failed=0
run_ctest release ctest 0; conclude 1'''
        return self.bash(script, path)

    def test_ctest_that_fails_is_a_failure_whatever_it_prints(self):
        done = self.run_ctest('echo "100% tests passed, 0 tests failed out of 3"; exit 8')
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertNotIn("100% tests passed, 0 tests failed out of 3\n\nTotal", done.stdout)

    def test_ctest_that_dies_is_a_failure(self):
        self.assertEqual(self.run_ctest("kill -9 $$").returncode, 1)

    def test_ctest_that_passes_is_a_success(self):
        done = self.run_ctest('echo "100% tests passed, 0 tests failed out of 3"')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_only_missing_packages_are_named(self):
        names = [line.split()[1] for line in (ROOT / "cmake/dev/packages.txt").read_text().splitlines()
                 if line and not line.startswith("#")]
        self.assertEqual(len(names), len(set(names)), "a package is listed twice")
        have = "\\n".join(f"ii  {name}" for name in names if name not in ("mold", "clang-16"))
        path = self.program("dpkg-query", f"printf '{have}\\n'")
        self.assertEqual(self.bash("missing_packages '^build'", path).stdout.split(), ["mold"])
        self.assertEqual(self.bash("missing_packages '^(build|test)'", path).stdout.split(), ["mold", "clang-16"])

    def test_without_root_and_sudo_it_says_what_to_do(self):
        path = self.program("id", 'if [ "$1" = -u ]; then echo 1000; else echo ada; fi')
        done = self.bash("command() { return 1; }; as_root true", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("needs root; this is user ada", done.stderr)

    def test_unknown_commands_and_options_are_refused(self):
        for words in (["nope"], ["test", "--nope"], ["run", "--nope"], ["soak", "long"]):
            done = subprocess.run([ROOT / "dev", *words], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("error:", done.stderr)
        self.assertEqual(subprocess.run([ROOT / "dev", "help"], capture_output=True, timeout=30).returncode, 0)

    def test_ci_runs_exactly_dev_test(self):
        lines = [x for x in (ROOT / ".ci/run").read_text().splitlines() if x and not x.startswith("#")]
        self.assertEqual(lines, ['exec "$(dirname "$0")/../dev" test'])


if __name__ == "__main__":
    unittest.main()
