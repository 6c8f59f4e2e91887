"""caged-mcp-server against published MCP servers on stdio, in one run: start, latencies, throughput, memory, search.

CAGED_BUILD_DIR=build python3 tests/bench/mcp.py [--rounds N] [--files N]

Each figure is taken of every server in turn, round by round, so that a busy machine is the same for all of them; the
least and the median of the rounds are shown. Installs the servers into the build folder once.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../conformance"))
import packages  # noqa: E402

NPM = ["@modelcontextprotocol/server-filesystem@2.0.1", "@modelcontextprotocol/server-everything@2026.8.31"]
COMMANDER = "@wonderwhy-er/desktop-commander@0.2.52"
OVERRIDES = {"typedarray.prototype.slice": "1.0.5"}  # desktop-commander asks for a version that is not published
WORDS = ["alpha", "beta", "gamma", "delta", "int", "return", "for", "while", "value", "result", "string", "vector", "const", "auto"]


class Server:
    def __init__(self, words, environment):
        began = time.perf_counter()
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self.last = 0
        self.call("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}})
        self.start_ms = (time.perf_counter() - began) * 1000
        self.process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def send(self, method, params):
        self.last += 1
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}).encode() + b"\n")
        return b'"id":%d' % self.last

    def answer(self):
        """The next answer, as it came; notifications are passed over."""
        while True:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("a server ended")
            if b'"method":' not in line[:200] and b'"id":' in line:
                return line

    def call(self, method, params):
        self.send(method, params)
        self.process.stdin.flush()
        return self.answer()

    def latencies(self, tool, arguments, count):
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            line = self.call("tools/call", {"name": tool, "arguments": arguments})
            taken.append((time.perf_counter() - began) * 1e6)
            if b'"isError":true' in line:
                sys.exit(f"{tool} failed: {line[:300]}")
        taken.sort()
        return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]

    def rate(self, tool, arguments, count, flight=64):
        """Calls per second with up to `flight` of them under way, by a client that does next to nothing itself."""
        text = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        head, tail = (part.encode() for part in text.split('"id": 0'))
        calls = [head + b'"id":%d' % (self.last + 1 + i) + tail + b"\n" for i in range(count)]
        self.last += count
        into, out = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.process.stdin.flush()
        began = time.perf_counter()
        sent = done = 0
        rest = b""
        while done < count:
            if sent < count and sent - done <= flight // 2:
                more = calls[sent:sent + flight - (sent - done)]
                os.write(into, b"".join(more))
                sent += len(more)
            rest += os.read(out, 1 << 20)
            *lines, rest = rest.split(b"\n")
            done += sum(b'"result":' in line for line in lines)
        return count / (time.perf_counter() - began)

    def memory_mib(self):
        """Resident and its own, of the process and all it started."""
        rows = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                fields = dict(l.split(":", 1) for l in (folder / "status").read_text().splitlines() if ":" in l)
                rows[int(folder.name)] = (int(fields["PPid"]), int(fields.get("VmRSS", "0 kB").split()[0]))
            except (OSError, KeyError, ValueError):
                pass
        family, grown = {self.process.pid}, True
        while grown:
            more = {pid for pid, (parent, _) in rows.items() if parent in family} - family
            family |= more
            grown = bool(more)
        return sum(rows[pid][1] for pid in family if pid in rows) / 1024

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def fill(folder, files):
    """A tree of small text files, a few of them with the needle."""
    random.seed(1)
    for number in range(files):
        part = folder / f"d{number // 5000}" / f"s{number // 100 % 50}"
        if number % 100 == 0:
            part.mkdir(parents=True, exist_ok=True)
        text = "\n".join(" ".join(random.choices(WORDS, k=8)) for _ in range(random.randint(5, 40)))
        (part / f"f{number}.txt").write_text(text + ("\nneedle_here found\n" if number % 500 == 0 else "\n"))


def summary(values):
    return f"{min(values):.4g} ({statistics.median(values):.4g})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=100_000)
    options = parser.parse_args()
    build = str(pathlib.Path(os.environ.get("CAGED_BUILD_DIR", "build")).resolve())
    cache = f"{build}/tests/conformance/"
    node = packages.node(cache + "npm-node")
    modules = packages.install(cache + "npm-peers", NPM) / "node_modules"
    commander = packages.install(cache + "npm-commander", [COMMANDER], OVERRIDES) / "node_modules"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="caged-bench-"))
    try:
        measure(options, build, node, modules, commander, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(options, build, node, modules, commander, folder):
    small, tree = folder / "small", folder / "tree"
    small.mkdir()
    (small / "a.txt").write_text("hello there\n" * 20)
    for number in range(20):
        (small / f"{number}.md").write_text("x\n")
    fill(tree, options.files)
    settings = folder / ".claude-server-commander"
    settings.mkdir()
    (settings / "config.json").write_text(json.dumps({"telemetryEnabled": False, "allowedDirectories": [str(folder)]}))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    a, w = str(small / "a.txt"), str(small / "w.txt")
    # name: command, {what: (tool, arguments)}
    servers = {
        "caged-mcp-server": ([f"{build}/bin/caged-mcp-server", "--workspace", str(folder)], {
            "read": ("file_read", {"path": "small/a.txt"}), "write": ("file_write", {"path": "small/w.txt", "content": "some text\n"}),
            "list": ("file_list", {"path": "small"}), "search": ("file_search", {"pattern": "*.md", "path": "small"}),
            "exec": ("terminal_exec", {"command": "true"})}),
        "server-filesystem": ([node, str(modules / "@modelcontextprotocol/server-filesystem/dist/index.js"), str(folder)], {
            "read": ("read_text_file", {"path": a}), "write": ("write_file", {"path": w, "content": "some text\n"}),
            "list": ("list_directory", {"path": str(small)}), "search": ("search_files", {"path": str(small), "pattern": "*.md"})}),
        "desktop-commander": ([node, str(commander / "@wonderwhy-er/desktop-commander/dist/index.js")], {
            "read": ("read_file", {"path": a}), "write": ("write_file", {"path": w, "content": "some text\n", "mode": "rewrite"}),
            "list": ("list_directory", {"path": str(small)}), "exec": ("start_process", {"command": "true", "timeout_ms": 2000})}),
        "server-everything": ([node, str(modules / "@modelcontextprotocol/server-everything/dist/index.js")], {
            "echo": ("echo", {"message": "hello"})}),
    }
    figures = {name: {} for name in servers}
    for _ in range(options.rounds):
        for name, (words, tools) in servers.items():
            ours = name.startswith("caged")
            row = figures[name]
            server = Server(words, environment)
            row.setdefault("start → initialize, ms", []).append(server.start_ms)
            row.setdefault("tools/list, bytes", []).append(len(server.call("tools/list", {})))
            for what, (tool, arguments) in tools.items():
                slow = what == "exec"
                middle, late = server.latencies(tool, arguments, (200 if slow else 3000) if ours else (5 if slow else 200))
                row.setdefault(f"{what} p50, µs", []).append(middle)
                row.setdefault(f"{what} p99, µs", []).append(late)
            tool, arguments = tools.get("read") or tools["echo"]
            row.setdefault("calls/s, 64 under way", []).append(server.rate(tool, arguments, 20_000 if ours else 1500))
            row.setdefault("memory, MiB", []).append(server.memory_mib())
            server.end()
    search(options, servers["caged-mcp-server"][0], environment, commander, tree, figures)
    for name, row in figures.items():
        print(name)
        for what, values in row.items():
            best = f"{max(values):.4g} ({statistics.median(values):.4g})" if what.startswith("calls/s") else summary(values)
            print(f"  {what:32} {best}")


def search(options, words, environment, modules, tree, figures):
    """Content search of the whole tree, in turn with ripgrep's command on it."""
    ripgrep = next((modules / "@vscode").glob("ripgrep-*/bin/rg"))
    for text, what in (("needle_here", "rare"), ("vector const auto int", "words"), ("(vector|delta) const auto (int|for) r", "expression")):
        for _ in range(max(options.rounds, 3)):
            server = Server(words, environment)
            began = time.perf_counter()
            line = server.call("tools/call", {"name": "file_search", "arguments": {"path": "tree", "pattern": "**", "content": text}})
            figures["caged-mcp-server"].setdefault(f"search of {options.files} files, {what}, ms", []).append((time.perf_counter() - began) * 1000)
            if b'"isError":true' in line:
                sys.exit(f"the search failed: {line[:300]}")
            server.end()
            began = time.perf_counter()
            subprocess.run([str(ripgrep), "-n", text, "."], cwd=tree, stdout=subprocess.PIPE, check=False)
            figures.setdefault("ripgrep's command", {}).setdefault(f"search of {options.files} files, {what}, ms", []).append((time.perf_counter() - began) * 1000)


if __name__ == "__main__":
    main()
