#!/usr/bin/env python3
"""agents_test.py BUILD_DIR: the official Python SDK, Claude Code, Codex and a scripted agent with our MCP servers.

No credentials are needed, and none are looked for: each program gets a home folder of its own.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

import packages
from clients_test import TOKEN, listening
from world import Server

SDKS = {"1": ["mcp[ws]==1.30.0"], "2": ["mcp==2.3.0"]}
CLAUDE = "@anthropic-ai/claude-code@2.1.329"
CODEX = "@openai/codex@0.169.0"
SOURCE = "jsonpointer==3.0.0"  # small, and its tests need nothing but Python
RIGHT = "return s.replace('~', '~0').replace('/', '~1')"
WRONG = "return s.replace('/', '~1').replace('~', '~0')"


def run(words, **more):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120, **more)
    if done.returncode != 0:
        packages.fail(f"{words[:3]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def native(folder, name):
    """The program of that name which an npm package brings for this machine."""
    found = [p for p in (folder / "node_modules").rglob(name) if p.is_file() and os.access(p, os.X_OK) and p.stat().st_size > 10_000_000]
    return str(found[0]) if found else packages.fail(f"{folder} has no program {name}")


def python_clients(world, generation):
    print(run([sys.executable, "-B", str(world.here / "python_clients.py"), generation, world.program, str(world.workspace), world.http, world.ws, TOKEN],
              env=dict(os.environ, PYTHONPATH=str(world.sdks[generation]))), end="")


def claude(world):
    program = native(world.claude, "claude")
    home = world.folder / "claude-home"
    home.mkdir()
    environment = dict(world.with_key, HOME=str(home), DISABLE_AUTOUPDATER="1", CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1", DISABLE_TELEMETRY="1")
    project = world.folder / "project"
    project.mkdir()
    more = dict(env=environment, cwd=project)
    run([program, "mcp", "add", "standalone", "--", world.program, "--workspace", str(world.workspace)], **more)
    run([program, "mcp", "add", "--transport", "http", "by-http", world.http, "-H", "Authorization: Bearer " + TOKEN], **more)
    for name, address, token in (("by-ws", world.ws_closed, TOKEN), ("platform-ws", world.server.url.replace("http", "ws") + "/mcp/ws", world.server.key)):
        run([program, "mcp", "add-json", name, json.dumps({"type": "ws", "url": address, "headers": {"Authorization": "Bearer " + token}})], **more)
    run([program, "mcp", "add", "--transport", "http", "platform", world.server.url + "/mcp", "-H", "Authorization: Bearer " + world.server.key], **more)
    # Ours goes into a file of the project, which Claude Code asks about unless the settings say otherwise.
    run([world.caged, "mcp", "config", "claude-code", "--write"], cwd=project, env=world.with_key)
    settings = home / ".claude" / "settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"enableAllProjectMcpServers": true}')
    shown = run([program, "mcp", "list"], **more)
    for name in ("standalone", "by-http", "by-ws", "platform", "platform-ws", "caged"):
        line = next((l for l in shown.splitlines() if l.startswith(name + ":")), "")
        if "Connected" not in line or "✔" not in line:
            packages.fail(f"Claude Code is not connected to {name}:\n{shown}")
    print("ok claude mcp list")


def codex(world):
    program = native(world.codex, "codex")
    home = world.folder / "codex-home"
    home.mkdir()
    environment = dict(world.with_key, CODEX_HOME=str(home), FS_TOKEN=TOKEN)
    run([program, "mcp", "add", "standalone", "--", world.program, "--workspace", str(world.workspace)], env=environment)
    run([program, "mcp", "add", "by-http", "--url", world.http, "--bearer-token-env-var", "FS_TOKEN"], env=environment)
    run([world.caged, "mcp", "config", "codex", "--write"], env=environment)
    if "[mcp_servers.standalone]" not in (home / "config.toml").read_text():
        packages.fail("`caged mcp config codex --write` lost what was there")
    # Codex hands its servers no variables but those of its file; without them `caged mcp` would start a server of its own.
    with (home / "config.toml").open("a") as config:
        config.write("\n[mcp_servers.caged.env]\n" + "".join(f"{name} = {json.dumps(world.with_key[name])}\n" for name in ("CAGED_API_URL", "CAGED_API_KEY")))
    server = subprocess.Popen([program, "app-server"], env=environment, cwd=home, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    limit = threading.Timer(60, server.kill)
    limit.start()
    try:
        for message in ({"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "t", "version": "1"}}}, {"method": "initialized"},
                        {"id": 2, "method": "mcpServerStatus/list", "params": {}}):
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        answer = next((m for m in map(json.loads, server.stdout) if m.get("id") == 2), None)
    finally:
        limit.cancel()
        server.kill()
        server.wait()
    shown = {row["name"]: row for row in (answer or {}).get("result", {}).get("data", [])}
    for name, wanted in (("standalone", {"file_read", "terminal_exec", "git_diff"}), ("by-http", {"file_read"}), ("caged", {"sandbox_create", "sandbox_exec", "file_read"})):
        have = set(shown.get(name, {}).get("tools", {}))
        if not wanted <= have:
            packages.fail(f"Codex sees of {name} only {sorted(have)}")
    print("ok codex app-server")


def repair(world):
    folder = world.folder / "repository"
    with tarfile.open(next(world.source.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
        for member in members:  # whoever packed it is nobody here, and git asks whose a folder is
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        archive.extractall(world.folder / "unpacked", members)
    next((world.folder / "unpacked").iterdir()).rename(folder)
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    run([*git, "init", "-q"])
    for key, value in (("user.name", "t"), ("user.email", "t@example.org")):
        run([*git, "config", key, value])
    run([*git, "add", "-A"])
    run([*git, "commit", "-qm", "as published"])
    module = folder / "jsonpointer.py"
    text = module.read_text()
    if text.count(RIGHT) != 1:
        packages.fail("the source has no such line: " + RIGHT)
    module.write_text(text.replace(RIGHT, WRONG))
    run([*git, "commit", "-qam", "escape slashes first"])
    (folder / "README.md").write_text("More words.\n")
    run([*git, "commit", "-qam", "more words"])
    print(run([sys.executable, "-B", str(world.here / "repair_agent.py"), world.program, str(folder), f"{sys.executable} -B -m unittest tests"],
              env=dict(os.environ, PYTHONPATH=str(world.sdks["2"]))), end="")
    if module.read_text() != text:
        packages.fail("the repair is another than the original")


class World:
    """Everything installed, and our servers running."""

    def __init__(self, build):
        self.here = pathlib.Path(__file__).resolve().parent
        self.program, self.caged = f"{build}/bin/caged-mcp-server", f"{build}/bin/caged"
        cache = f"{build}/tests/conformance/"
        with concurrent.futures.ThreadPoolExecutor() as pool:
            sdks = {g: pool.submit(packages.pip, f"{cache}pip-sdk-{g}", wanted) for g, wanted in SDKS.items()}
            source = pool.submit(packages.pip, cache + "pip-source", [SOURCE], ("download", "--no-deps", "--no-binary=:all:"))
            tools = [pool.submit(packages.install, cache + name, [package]) for name, package in (("npm-claude", CLAUDE), ("npm-codex", CODEX))]
            self.sdks = {g: f.result() for g, f in sdks.items()}
            self.source = source.result()
            self.claude, self.codex = (f.result() for f in tools)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="caged-agents-"))
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir()
        self.plain = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        self.running = []
        try:
            ports = []
            for mode, token in (("http", TOKEN), ("ws", ""), ("ws", TOKEN)):
                process, port = listening(self.program, str(self.workspace), mode, token)
                self.running.append(process)
                ports.append(port)
            self.http, self.ws, self.ws_closed = f"http://127.0.0.1:{ports[0]}/mcp", f"ws://127.0.0.1:{ports[1]}/mcp", f"ws://127.0.0.1:{ports[2]}/mcp"
            self.server = Server(build)
        except BaseException:
            self.stop()
            raise
        self.with_key = dict(self.plain, CAGED_API_URL=self.server.url, CAGED_API_KEY=self.server.key)

    def stop(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        if hasattr(self, "server"):
            self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    world = World(str(pathlib.Path(sys.argv[1]).resolve()))
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            parts = [pool.submit(python_clients, world, generation) for generation in SDKS]
            parts += [pool.submit(part, world) for part in (claude, codex, repair)]
            for done in parts:
                done.result()
    finally:
        world.stop()


if __name__ == "__main__":
    main()
