"""A container engine of the test's own: private socket, private folders, one imported template, nothing pulled."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = "cat ls sleep echo dd sha256sum id mkdir rm touch kill seq head true false".split()


def make_template(root):
    """The smallest root file system with a shell: programs of this machine and the libraries they name."""
    for folder in "bin etc tmp proc sys dev root var/tmp".split():
        os.makedirs(os.path.join(root, folder))
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    libraries = set()
    for name in ["sh", *PROGRAMS]:
        program = os.path.realpath(shutil.which(name))
        shutil.copy(program, os.path.join(root, "bin", name))
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        libraries.update(re.findall(r"(/\S+) \(0x", listed))
    for library in libraries:
        os.makedirs(root + os.path.dirname(library), exist_ok=True)
        shutil.copy(os.path.realpath(library), root + library)
    with open(os.path.join(root, "etc/passwd"), "w", encoding="utf-8") as passwd:
        passwd.write("root:x:0:0:root:/root:/bin/sh\n")


class Engine:
    def __init__(self, folder):
        self.socket = os.path.join(folder, "docker.sock")
        self.log = os.path.join(folder, "dockerd.log")
        for driver in ("overlay2", "vfs"):
            if self._start(folder, driver):
                return
        raise RuntimeError("dockerd does not start:\n" + open(self.log, encoding="utf-8").read()[-3000:])

    def _start(self, folder, driver):
        flags = ["--host=unix://" + self.socket, "--data-root=" + os.path.join(folder, driver),
                 "--exec-root=" + os.path.join(folder, "exec"), "--pidfile=" + os.path.join(folder, "pid"),
                 "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=" + driver]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(["dockerd", *flags], stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if self.call("GET", "/_ping")[0] == 200:
                    return True
            except OSError:  # not there yet
                time.sleep(0.1)
        self.stop()
        return False

    def call(self, method, path):
        connection = http.client.HTTPConnection("docker", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect(self.socket)
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def containers(self):
        return json.loads(self.call("GET", "/containers/json?all=true")[1])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
