"""Clients of caged-mcp-server on stdio, WebSocket and Streamable HTTP with one interface, and fit to misbehave."""

import base64
import http.client
import json
import os
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

PATIENCE = 60  # seconds; a loaded machine is slow, a hung server is found all the same


class Gone(Exception):
    """The server ended the conversation."""


class Server:
    """One caged-mcp-server with a workspace of its own; `outside` lies beside it and holds the secret."""

    def __init__(self, program, transport, flags=(), isolate=False, environment=None):
        self.transport, self.isolate = transport, isolate
        self.folder = tempfile.mkdtemp(prefix="caged-attack-")
        self.root, self.outside = self.folder + "/ws", self.folder + "/ws_evil"
        os.mkdir(self.root)
        os.mkdir(self.outside)
        self.secret = "SECRET-" + os.urandom(8).hex()
        self.write_outside("key", self.secret + "\n")
        self.log_path = self.folder + "/log"
        self.log = open(self.log_path, "wb")
        command = [program, "--workspace", self.root, "--mode", transport, "--log-level", "debug", *flags]
        if transport != "stdio":
            command += ["--port", "0"]
        if isolate:
            command += ["--isolate"]
        variables = {k: v for k, v in os.environ.items() if not k.startswith("CAGED_")}
        variables.update({"SERVICE_KEY": self.secret, "HOME": self.folder + "/home", **(environment or {})})
        os.mkdir(self.folder + "/home")
        with open(self.folder + "/home/.gitconfig", "w") as f:
            f.write("[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env=variables, bufsize=0)
        self.port = None if transport == "stdio" else self.find_port()

    def write_outside(self, name, text):
        with open(f"{self.outside}/{name}", "w") as f:
            f.write(text)

    def put(self, name, content=b"", mode=None):
        path = f"{self.root}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            os.chmod(path, mode)
        return path

    def find_port(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.log_text())
            if found:
                return int(found.group(1))
            time.sleep(0.01)
        raise Gone("the server did not start: " + self.log_text())

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def connect(self, **options):
        return {"stdio": Stdio, "ws": WebSocket, "http": Http}[self.transport](self, **options)

    def memory_kib(self):
        """What the server, its guardian and whatever they started hold in memory."""
        total = 0
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                with open(f"/proc/{pid}/status") as f:
                    total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
            except OSError:
                pass
        return total

    def stop(self):
        left = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
        deadline = time.monotonic() + 10
        while any(lives(p) for p in left) and time.monotonic() < deadline:
            time.sleep(0.02)
        subprocess.run(["chmod", "-R", "u+rwX", self.folder], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)
        return [p for p in left if lives(p)]


def descendants(pid):
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry))
    out, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            out.append(child)
            todo.append(child)
    return out


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Channel:
    """What all transports share: ids, answers by id, tools."""

    def __init__(self, server):
        self.server, self.last_id = server, 0
        self.answers, self.others = {}, []

    def new_id(self):
        self.last_id += 1
        return self.last_id

    def request(self, method, params=None, timeout=PATIENCE):
        number = self.begin(method, params)
        return self.wait(number, timeout)

    def call(self, tool, **arguments):
        """The result of a tool; the error object where it is a protocol error."""
        reply = self.request("tools/call", {"name": tool, "arguments": arguments})
        return reply.get("result", reply.get("error"))

    def begin_call(self, tool, meta=None, **arguments):
        params = {"name": tool, "arguments": arguments}
        if meta:
            params["_meta"] = meta
        return self.begin("tools/call", params)

    def initialize(self, revision="2025-11-25"):
        return self.request("initialize", {"protocolVersion": revision, "capabilities": {},
                                           "clientInfo": {"name": "attacker", "version": "1"}})

    def message(self, method, params, number=None):
        made = {"jsonrpc": "2.0", "method": method}
        if number is not None:
            made["id"] = number
        if params is not None:
            made["params"] = params
        return made


class Lines(Channel):
    """Message streams: stdio and WebSocket. A thread takes what comes."""

    def listen(self):
        self.arrived = queue.Queue()
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        try:
            while True:
                self.arrived.put(self.receive())
        except (Gone, OSError, ValueError) as e:
            self.arrived.put(Gone(str(e)))

    def begin(self, method, params=None):
        number = self.new_id()
        self.send(json.dumps(self.message(method, params, number)))
        return number

    def notify(self, method, params=None):
        self.send(json.dumps(self.message(method, params)))

    def cancel(self, number):
        self.notify("notifications/cancelled", {"requestId": number})

    def next(self, timeout=PATIENCE):
        try:
            text = self.arrived.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(text, Gone):
            self.arrived.put(text)
            raise text
        return json.loads(text)

    def wait(self, number, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while number not in self.answers:
            got = self.next(max(0.001, deadline - time.monotonic()))
            if got is None:
                raise TimeoutError(f"no answer to {number}")
            if isinstance(got, dict) and "id" in got and "method" not in got:
                self.answers[got["id"]] = got
            else:
                self.others.append(got)
        return self.answers.pop(number)

    def say(self, text, timeout=PATIENCE):
        """One raw text; the next message."""
        self.send(text)
        return self.next(timeout)


class Stdio(Lines):
    def __init__(self, server):
        super().__init__(server)
        self.held = b""
        self.listen()

    def send(self, text):
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self.send_bytes(raw + b"\n")

    def send_bytes(self, raw):
        view = memoryview(raw)
        while view:
            view = view[os.write(self.server.process.stdin.fileno(), view):]

    def receive(self):
        while b"\n" not in self.held:
            piece = os.read(self.server.process.stdout.fileno(), 1 << 16)
            if not piece:
                raise Gone("end of output")
            self.held += piece
        line, self.held = self.held.split(b"\n", 1)
        return line.decode()

    def close(self):
        pass


def frame(payload, opcode=1, fin=True, mask=True, reserved=0, length=None):
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    size = len(payload) if length is None else length
    flag = 0x80 if mask else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + struct.pack(">H", size)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", size)
    if not mask:
        return head + payload
    key = b"\x01\x02\x03\x04"
    repeated = (key * (len(payload) // 4 + 1))[:len(payload)]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


class WebSocket(Lines):
    def __init__(self, server, path="/mcp", headers=None, upgrade=True):
        super().__init__(server)
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        fields = {"Host": f"127.0.0.1:{server.port}", "Upgrade": "websocket", "Connection": "Upgrade",
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Protocol": "mcp", **(headers or {})}
        lines = [f"GET {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.held, self.close_code = b"", None
        while b"\r\n\r\n" not in self.held:
            self.more()
        self.head, self.held = self.held.split(b"\r\n\r\n", 1)
        self.status = int(self.head.split()[1])
        if upgrade:
            if self.status != 101:
                raise Gone(f"refused with {self.status}")
            self.listen()

    def more(self):
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise Gone("end of stream")
        self.held += piece

    def send(self, text):
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        self.send_bytes(frame(raw))

    def send_bytes(self, raw):
        self.socket.sendall(raw)

    def need(self, size):
        while len(self.held) < size:
            self.more()

    def receive(self):
        while True:
            self.need(2)
            opcode, size, at = self.held[0] & 15, self.held[1] & 127, 2
            if size == 126:
                self.need(4)
                size, at = struct.unpack(">H", self.held[2:4])[0], 4
            elif size == 127:
                self.need(10)
                size, at = struct.unpack(">Q", self.held[2:10])[0], 10
            self.need(at + size)
            payload, self.held = self.held[at:at + size], self.held[at + size:]
            if opcode == 8:
                self.close_code = struct.unpack(">H", payload[:2])[0] if size >= 2 else 1005
                raise Gone(f"closed with {self.close_code}")
            if opcode == 1:
                return payload.decode()

    def closed_with(self, timeout=20):
        """The close code, or "dropped" where the connection ended without one."""
        try:
            while self.next(timeout) is not None:
                pass
            return None
        except Gone:
            return self.close_code or "dropped"

    def close(self):
        self.socket.close()


class Http(Channel):
    """Streamable HTTP of the handshake revisions; each request on a connection of its own."""

    def __init__(self, server, headers=None):
        super().__init__(server)
        self.headers, self.session, self.version = headers or {}, None, None
        self.waiting = {}

    def fields(self, more=None):
        made = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **self.headers}
        if self.session:
            made["Mcp-Session-Id"] = self.session
        if self.version:
            made["MCP-Protocol-Version"] = self.version
        made.update(more or {})
        return {k: v for k, v in made.items() if v is not None}

    def exchange(self, method="POST", body=None, headers=None, path="/mcp", timeout=PATIENCE):
        """(status, headers, body) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=timeout)
        try:
            connection.request(method, path, body, self.fields(headers))
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def post(self, message, headers=None):
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        return self.exchange("POST", text.encode() if isinstance(text, str) else text, headers)

    def messages(self, headers, body):
        if headers.get("content-type", "").startswith("text/event-stream"):
            return [json.loads(line[5:]) for line in body.decode().split("\n") if line.startswith("data:") and line[5:].strip()]
        return [json.loads(body)] if body else []

    def begin(self, method, params=None):
        number = self.new_id()
        done = threading.Event()
        self.waiting[number] = done

        def run():
            try:
                status, headers, body = self.post(self.message(method, params, number))
                if method == "initialize" and "mcp-session-id" in headers:
                    self.session = headers["mcp-session-id"]
                for m in self.messages(headers, body):
                    if m.get("id") == number and "method" not in m:
                        self.answers[number] = m
                    else:
                        self.others.append(m)
                self.answers.setdefault(number, {"status": status})
            except (OSError, http.client.HTTPException) as e:
                self.answers[number] = {"failed": str(e)}
            done.set()
        threading.Thread(target=run, daemon=True).start()
        return number

    def wait(self, number, timeout=PATIENCE):
        if not self.waiting[number].wait(timeout):
            raise TimeoutError(f"no answer to {number}")
        return self.answers.pop(number)

    def notify(self, method, params=None):
        return self.post(self.message(method, params))

    def cancel(self, number):
        self.notify("notifications/cancelled", {"requestId": number})

    def say(self, text, timeout=PATIENCE):
        status, headers, body = self.post(text)
        got = self.messages(headers, body)
        return got[0] if got else None

    def initialize(self, revision="2025-11-25"):
        reply = super().initialize(revision)
        self.version = revision
        return reply

    def close(self):
        pass
