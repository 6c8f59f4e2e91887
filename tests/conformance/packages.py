"""Installs pinned npm and PyPI packages into caches in the build folder, with the machine's ordinary npm and pip settings."""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

LIMIT = 420  # seconds for one installation


def fail(text):
    print("FAILED: " + text, file=sys.stderr)
    sys.exit(1)


def install(cache, packages, overrides=None):
    """The folder that holds node_modules with exactly these packages ("name@version"); `overrides` as npm has them."""
    folder = pathlib.Path(cache)
    stamp = folder / "installed"
    wanted = "\n".join(sorted(packages))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    npm = shutil.which("npm") or fail("npm is missing. Install the Debian packages nodejs and npm.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "overrides": overrides or {}}))
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", *packages]
    environment = dict(os.environ, npm_config_cache=str(folder / "cache"))
    try:
        done = subprocess.run(command, cwd=folder, env=environment, timeout=LIMIT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        fail(f"npm install took longer than {LIMIT} s. Is the npm registry reachable? `npm config get registry` names it.")
    if done.returncode != 0:
        fail("npm install failed:\n" + done.stdout[-2000:] + "\nThe packages come from the registry of `npm config get registry`; it must be reachable.")
    shutil.rmtree(folder / "cache", ignore_errors=True)  # as large as what was installed
    stamp.write_text(wanted)
    return folder


def pip(cache, packages, words=("install", "--target", ".")):
    """The folder that holds exactly these PyPI packages ("name==version"): modules, or what other `words` bring."""
    folder = pathlib.Path(cache)
    stamp = folder / "installed"
    wanted = "\n".join(sorted(packages))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check", "--no-cache-dir", *packages]
    try:
        done = subprocess.run(command, cwd=folder, timeout=LIMIT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        fail(f"pip took longer than {LIMIT} s. Is the package index reachable? `pip config list` names it.")
    if done.returncode != 0:
        fail("pip failed:\n" + done.stdout[-2000:] + "\nIt needs the Debian package python3-pip and the index of `pip config list`.")
    stamp.write_text(wanted)
    return folder


def node(cache):
    """A Node of version 22 or later: the machine's own, or the one that npm brings."""
    own = shutil.which("node")
    if own:
        version = subprocess.run([own, "--version"], text=True, stdout=subprocess.PIPE, timeout=30).stdout.strip()
        if version.startswith("v") and int(version[1:].split(".")[0]) >= 22:
            return own
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine()) or fail("no Node 22 for " + platform.machine() + ". Install one.")
    package = f"node-linux-{machine}"
    return str(install(cache, [package + "@22.23.3"]) / "node_modules" / package / "bin" / "node")
