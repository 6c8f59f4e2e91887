"""A template of this machine's programs and a server of the test's own, for tests of the QEMU backend."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

PROGRAMS = "cat ls sleep echo dd sha256sum id mkdir rm touch kill seq head true false hostname od ps date".split()


def make_template(root):
    """The smallest root file system with a shell: programs of this machine and the libraries they name."""
    for folder in "bin etc tmp proc sys dev root run var/tmp workspace".split():
        os.makedirs(os.path.join(root, folder))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    libraries = set()
    for name in ["sh", *PROGRAMS]:
        found = shutil.which(name)
        if found is None:
            continue
        program = os.path.realpath(found)
        shutil.copy(program, os.path.join(root, "bin", name))
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        libraries.update(re.findall(r"(/\S+) \(0x", listed))
    for library in libraries:
        os.makedirs(root + os.path.dirname(library), exist_ok=True)
        shutil.copy(os.path.realpath(library), root + library)
    with open(os.path.join(root, "etc/passwd"), "w", encoding="utf-8") as passwd:
        passwd.write("root:x:0:0:root:/root:/bin/sh\n")


class Server:
    """`caged serve` with the QEMU backend; its data and its machines outlive kill()."""

    def __init__(self, build, folder, settings):
        self.build, self.folder, self.settings = build, folder, settings
        self.process = None

    def start(self):
        data = self.folder + "/data"
        config = self.folder + "/server.json"  # JSON is YAML
        with open(config, "w", encoding="utf-8") as out:
            json.dump({"plugins": {"vmm": {"qemu": self.settings}}}, out)
        os.chmod(config, 0o600)
        if os.path.exists(data + "/server.json"):
            os.remove(data + "/server.json")
        with open(self.folder + "/server.log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [self.build + "/bin/caged", "serve", "--config", config, "--data", data, "--listen", "127.0.0.1:0"],
                stdout=log, stderr=log)
        self.wait_for(lambda: os.path.exists(data + "/server.json"), 60)
        with open(data + "/server.json", encoding="utf-8") as told:
            self.url = json.load(told)["address"]
        with open(data + "/admin.key", encoding="utf-8") as key:
            self.key = key.read().strip()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_for(self, ready, seconds):
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until or self.process.poll() is not None:
                with open(self.folder + "/server.log", encoding="utf-8") as log:
                    raise AssertionError("it did not happen; the server's log:\n" + log.read()[-3000:])
            time.sleep(0.02)

    def api(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", "Bearer " + self.key)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data, timeout=180) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read() or b"null")

    def sandboxes(self):
        told = self.api("GET", "/v1/sandboxes")[1]
        return told if isinstance(told, list) else told.get("sandboxes", told.get("items", []))

    def make(self, **more):
        status, made = self.api("POST", "/v1/sandboxes", {
            "backend": "qemu", "template": "host", "memory_mb": 128, "network_mode": "none", "wait": True, **more})
        if status not in (200, 201):
            raise AssertionError(f"no sandbox: {status} {made}")
        return made

    def run_in(self, box, command):
        status, told = self.api("POST", "/v1/sandboxes/" + box + "/exec", {"command": command})
        if status != 200:
            raise AssertionError(f"{command}: {status} {told}")
        return told
