#!/usr/bin/env python3
"""Checks that the tree keeps the rules of docs/architecture.md; prints each violation and what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CXX = {".cpp", ".hpp", ".h", ".c", ".ipp"}
SNAKE = re.compile(r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")


class House:
    def __init__(self, root):
        self.root = Path(root)
        self.files = sorted(set(tracked(self.root)))
        self.violations = []
        self.warnings = []

    def refuse(self, path, line, text, action):
        where = f"{path}:{line}" if line else path
        self.violations.append(f"{where}: {text}. Action: {action}.")

    def text(self, path):
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            return ""  # binary test data, or removed since it was listed

    def check(self):
        self.top_level()
        for path in self.files:
            text = self.text(path)
            self.words(path, text)
            self.length(path, text)
            if Path(path).suffix in CXX:
                self.includes(path, text)
                self.header(path, text)
                self.names(path, text)
                self.coroutines(path, text)
            if path.endswith(".md"):
                self.links(path, text)
        self.plugins()
        return self.violations

    # ---- the rules

    def top_level(self):
        here = {p.split("/")[0] for p in self.files}
        for name in sorted(here - rules.TOP_LEVEL):
            if not name.startswith("."):
                self.refuse(name, 0, "the design has nothing of this name at the top level",
                            "move it into the room it belongs to")
        for name in sorted(rules.TOP_LEVEL - here - rules.TOP_LEVEL_MAY_LACK):
            self.refuse(name, 0, "the top level lacks it", "add it")

    def words(self, path, text):
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in rules.FORBIDDEN_WORDS:
                if found := pattern.search(line):
                    self.refuse(path, number, f"'{found.group(0)}' is {what}", "say it without")

    def length(self, path, text):
        if Path(path).suffix not in rules.CODE_SUFFIXES or path in rules.MAY_BE_LONG:
            return
        lines = text.count("\n")
        if lines > rules.TOO_LONG:
            self.refuse(path, 0, f"{lines} lines; at most {rules.TOO_LONG} are allowed", "split it by purpose")
        elif lines > rules.LONG:
            self.warnings.append(f"{path}: {lines} lines; {rules.LONG} is the aim")

    def includes(self, path, text):
        wing = wing_of_file(path)
        if wing is None:
            return
        for number, line in enumerate(text.splitlines(), 1):
            if not (match := INCLUDE.match(line)):
                continue
            target = self.wing_of_include(path, match.group(1) == '"', match.group(2))
            if why := refusal(path, wing, target, match.group(2)):
                self.refuse(path, number, f"includes {match.group(2)}: {why}",
                            "see 'Who may include whom' in docs/architecture.md")

    def wing_of_include(self, path, quoted, text):
        """The wing or library an include belongs to; "std" for the standard library and the system."""
        if text.startswith("caged/wire/"):
            return "sdk/wire"
        if text.startswith("caged/mcp_front/"):
            return "sdk/mcp_front"
        if text.startswith("caged/mcp/"):
            return "sdk/mcp"
        if text.startswith("caged/walls/"):
            return "sdk/walls"
        if text.startswith("caged/testing/"):
            return "sdk/testing"
        if text == "caged_plugin.h":
            return "sdk/abi"
        if text.startswith("caged/"):
            return "sdk/plugin"
        for pattern, name in rules.LIBRARIES:
            if pattern.search(text):
                return name
        if text.split("/")[0] in {"core", "plugins", "agent", "sdk", "tests", "examples"}:
            return text
        if quoted:
            return self.resolve(path, text)
        if "/" in text and not rules.SYSTEM_FOLDERS.match(text):
            return "unknown"
        return "std"

    def resolve(self, path, text):
        """A quoted include: beside the file, or under a folder above it (rooms add themselves to the path)."""
        folder = Path(path).parent
        for base in [folder, *folder.parents]:
            candidate = os.path.normpath(str(base / text))
            if (self.root / candidate).exists():
                return candidate
        return f"{folder}/{text}"  # generated beside it

    def header(self, path, text):
        if not path.endswith((".hpp", ".h")) or not text:
            return
        if not text.startswith(("//", "/*")):
            self.refuse(path, 1, "a header opens with one sentence of purpose", "write it in line 1")
        if "#pragma once" not in text and not re.search(r"^#ifndef \w+_H", text, re.M):
            self.refuse(path, 0, "has no #pragma once", "add it below the sentence of purpose")

    def names(self, path, text):
        if not SNAKE.match(Path(path).name):
            self.refuse(path, 0, "file names are snake_case", "rename it")
        if re.search(r"^TEST(_[FP])?\(", text, re.M) and path.startswith("tests/") and not path.endswith(".test.cpp"):
            self.refuse(path, 0, "holds tests and is not named *.test.cpp", "rename it")

    def coroutines(self, path, text):
        for number, line in enumerate(text.splitlines(), 1):
            code = line.split("//")[0]
            for pattern, what, action in rules.MISCOMPILED:
                if pattern.search(code):
                    self.refuse(path, number, f"gcc 12 miscompiles this: {what}", action)

    def links(self, path, text):
        for number, line in enumerate(text.splitlines(), 1):
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
                if "://" in target or target.startswith("mailto:"):
                    continue
                if not (self.root / path).parent.joinpath(target).exists():
                    self.refuse(path, number, f"links to {target}, which does not exist", "correct the link")

    def plugins(self):
        """Folder plugins/<kind>/<name> ↔ target caged_<kind>_<name> ↔ caged-<kind>-<name>.so ↔ namespace."""
        for path in self.files:
            match = re.fullmatch(r"plugins/([^/]+)/([^/]+)/CMakeLists\.txt", path)
            if not match:
                continue
            kind, name = match.groups()
            cmake = " ".join(self.text(path).split())
            wanted = f"caged_add_plugin(caged_{kind}_{name} "
            declared = re.search(re.escape(wanted) + r"([^)]*)\)", cmake)
            if not declared:
                self.refuse(path, 0, f"does not make the target caged_{kind}_{name}", f"write {wanted.strip()} …)")
                continue
            for word in (f"KIND {kind}", f"NAME {name}"):
                if word not in f"{declared.group(1)} ":
                    self.refuse(path, 0, f"'{word}' is not in caged_add_plugin", "name kind and plugin as the folder")
            folder = path.rsplit("/", 1)[0] + "/"
            # caged::storage, caged::transport and caged::tool are classes of the SDK, so no namespace can be named so.
            joint = "_" if kind in rules.KINDS_THAT_ARE_CLASSES else "::"
            space = rules.OTHER_NAMESPACES.get(f"{kind}/{name}", f"caged::{kind}{joint}{name}")
            space = f"namespace {space}"
            sources = [p for p in self.files if p.startswith(folder) and p.endswith((".cpp", ".hpp"))]
            if sources and not any(space in self.text(p) for p in sources):
                self.refuse(folder, 0, f"no source has '{space}'", "use the namespace of the folder")


def wing_of_file(path):
    parts = path.split("/")
    if parts[0] == "sdk" and len(parts) > 1:
        wing = "/".join(parts[:2])
        return wing if wing in rules.WINGS else None
    # The one part of the agent's wing that opens sockets for HTTP.
    if path.startswith("agent/mcp/listen/"):
        return "agent/mcp/listen"
    return parts[0] if parts[0] in rules.WINGS else None


def room_of(path):
    """core/sandbox/x.hpp → core/sandbox; plugins/vmm/jail/x → plugins/vmm/jail; examples/a/b → examples/a."""
    parts = path.split("/")
    return "/".join(parts[: {"core": 2, "plugins": 3, "examples": 2}.get(parts[0], 1)])


def refusal(path, wing, target, text):
    """Why this include may not be, or None."""
    room = room_of(path)
    if target == "std":
        return None
    if target in rules.OWN_LIBRARIES.get(room, ()):
        return None
    allowed = rules.WINGS[wing]
    if target == "unknown":
        return "a library that no rule knows; name it in tests/house/rules.py"
    if target == "boost/dll":
        return "only core/plugin loads shared objects"
    top = "/".join(target.split("/")[:2]) if target.startswith("sdk/") else target.split("/")[0]
    if target.startswith("core/plugin/") and "core/plugin" in allowed:
        return None
    if wing == "core":
        return core_refusal(room, target, top, text)
    if top in {"plugins", "examples"} and wing == top:
        return None if room_of(target) == room else f"{room} may not know {room_of(target)}"
    if top == wing or top in allowed or target in allowed:
        return None
    return f"{wing} may include only {', '.join(sorted(allowed)) or 'nothing'} and the standard library"


def core_refusal(room, target, top, text):
    name = room.split("/")[1]
    if top == "core":
        other = target.split("/")[1]
        if other in rules.CORE_ROOMS.get(name, ()):
            return None
        return f"core/{name} may include only {', '.join(rules.CORE_ROOMS.get(name, ())) or 'rooms named in rules.py'}"
    if name == "cli" and rules.CLI_FORBIDDEN.search(text):
        return "core/cli is a client of the REST API only"
    if top in rules.WINGS["core"] or target in rules.WINGS["core"]:
        return None
    return f"core/{name} may not use {target}"


def tracked(root):
    """Files of the tree: what git has or would take; without git, what is not a build folder."""
    try:
        out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root,
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
        files = [f for f in out.decode().split("\0") if f]
        if files:
            return [f for f in files if (root / f).is_file()]
    except (OSError, subprocess.SubprocessError):
        pass
    found = []
    for folder, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith("build") and d not in {".git", "__pycache__", ".cache"}]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return found


def main():
    house = House(sys.argv[1] if len(sys.argv) > 1 else ".")
    violations = house.check()
    for text in house.warnings:
        print(f"warning: {text}")
    for text in violations:
        print(f"error: {text}")
    print(f"house rules: {len(house.files)} files, {len(violations)} violations, {len(house.warnings)} warnings")
    return 1 if violations or not house.files else 0


if __name__ == "__main__":
    sys.exit(main())
