"""A `caged serve` with a data folder of its own, and a door on loopback that adds its key to each request."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

from packages import fail


class Server:
    def __init__(self, build, plugin_dirs=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="caged-conformance-"))
        self.data = self.folder / "data"
        command = [f"{build}/bin/caged", "serve", "--listen", "127.0.0.1:0", "--data", str(self.data)]
        for folder in (f"{build}/lib/caged/plugins", *plugin_dirs):
            command += ["--plugin-dir", str(folder)]
        self.log = open(self.folder / "log", "w")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CAGED_")}
        environment["HOME"] = str(self.folder)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)
        deadline = time.monotonic() + 60
        while not self.ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                text = (self.folder / "log").read_text()[-3000:]
                self.stop()
                fail("the server did not start:\n" + text)
            time.sleep(0.05)
        self.key = (self.data / "admin.key").read_text().strip()

    def ready(self):
        try:
            self.url = json.loads((self.data / "server.json").read_text())["address"]
            urllib.request.urlopen(self.url + "/healthz", timeout=2).read()
            return True
        except (OSError, ValueError, KeyError):
            return False

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Door:
    """Forwards each connection's one request with the key in it; what a client without a key needs to get in."""

    def __init__(self, url, key):
        host, port = url.removeprefix("http://").split(":")
        self.target, self.key = (host, int(port)), key
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return client.close()
                head += piece
            lines, rest = head.split(b"\r\n\r\n", 1)
            kept = [l for l in lines.split(b"\r\n") if not l.lower().startswith((b"connection:", b"authorization:"))]
            kept[1:1] = [b"Authorization: Bearer " + self.key.encode(), b"Connection: close"]
            server = socket.create_connection(self.target)
            # The server looks at the port of Host; it is its own that counts.
            kept = [l.replace(b":" + str(self.port).encode(), b":" + str(self.target[1]).encode()) if l.lower().startswith((b"host:", b"origin:")) else l for l in kept]
            server.sendall(b"\r\n".join(kept) + b"\r\n\r\n" + rest)
        except OSError:
            return client.close()
        asks = threading.Thread(target=self.ask, args=(client, server), daemon=True)
        asks.start()
        self.pump(server, client)
        # Node's client dies of an assertion when a connection ends while it has not read the last answer: it may go
        # first.
        asks.join(60)
        self.end(client, server)

    def ask(self, client, server):
        self.pump(client, server)
        # The client has gone: so must the request.
        try:
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    @staticmethod
    def pump(source, target):
        try:
            while piece := source.recv(65536):
                target.sendall(piece)
        except OSError:
            pass

    @staticmethod
    def end(*sockets):
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def close(self):
        self.listener.close()
