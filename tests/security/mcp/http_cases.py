"""H1 to H13: HTTP and the protocol."""

import http.client
import json
import os
import re
import socket
import threading
import time

from table import case, refused, succeeded, text_of

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def raw(t, data, timeout=20, wait_close=True):
    """What the server answers to these bytes, until it closes or is silent."""
    with socket.create_connection(("127.0.0.1", t.server.port), timeout=timeout) as s:
        try:
            s.sendall(data)
        except OSError:
            pass
        out = b""
        try:
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                out += piece
                if not wait_close and b"\r\n\r\n" in out:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return out


def status(answer):
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.") else 0


def head(t, fields, method="POST", path="/mcp"):
    lines = [f"{method} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@case("H1", "DNS rebinding: foreign Host, foreign Origin, both, and everything that looks like loopback", on=("ws", "http"))
def rebinding(t):
    body = json.dumps(PING).encode()
    port = t.server.port
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mcp"}
    def ask(host, origin):
        fields = {"Host": host, "Origin": origin}
        if t.transport == "ws":
            return status(raw(t, head(t, {**fields, **upgrade}, "GET"), wait_close=False))
        return status(raw(t, head(t, {**fields, "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                                      "Content-Length": len(body), "Connection": "close"}) + body))
    own = f"127.0.0.1:{port}"
    fine = 101 if t.transport == "ws" else 400  # without a session
    foreign = ["evil.example", "localhost.evil.com", "127.0.0.1.nip.io", "127.0.0.1.evil.example.", "evil.example:%d" % port, "127.0.0.2", "0.0.0.0",
               "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", "localhost.localdomain", "169.254.169.254"]
    for host in foreign:
        assert ask(host, None) == 403, f"Host {host}: {ask(host, None)}"
    for host in (own, "localhost", f"LOCALHOST:{port}", "[::1]", "localhost."):
        assert ask(host, None) == fine, f"Host {host}: {ask(host, None)}"
    for origin in ("http://evil.example", "null", "http://localhost.evil.com", "http://127.0.0.1.nip.io", f"https://evil.example:{port}",
                   "http://127.0.0.1:1", "file://", "chrome-extension://abc", f"http://{own}@evil.example", f"http://evil.example#{own}", "*", "http://"):
        assert ask(own, origin) == 403, f"Origin {origin}: {ask(own, origin)}"
        assert ask("evil.example", origin) == 403, f"both, {origin}: {ask('evil.example', origin)}"
    for origin in (f"http://{own}", f"http://localhost:{port}"):
        got = ask(own if "127" in origin else f"localhost:{port}", origin)
        assert got == fine, f"own Origin {origin}: {got}"
    return f"403 for {len(foreign)} hosts and 12 origins"


@case("H2", "cross-site request forgery: simple content types, preflight", on=("http",))
def forgery(t):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None, "text/plain; x=application/json"):
        code, headers, _ = t.c.exchange(body=json.dumps(PING), headers={"Content-Type": kind})
        assert code == 415, f"{kind}: {code}"
        assert "access-control-allow-origin" not in headers
    code, headers, _ = t.c.exchange("OPTIONS", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})
    assert code in (403, 405) and "access-control-allow-origin" not in headers, (code, headers)
    return "415; no CORS"


@case("H3", "cross-site WebSocket hijack, subprotocols, tokens in addresses", on=("ws",), flags=("--token", "correct-horse-battery"))
def hijack(t):
    import client
    fine = {"Authorization": "Bearer correct-horse-battery"}
    def ask(headers, path="/mcp"):
        c = client.WebSocket(t.server, path, headers, upgrade=False)
        c.close()
        return c.status
    assert ask(fine) == 101
    assert ask({**fine, "Origin": "http://evil.example"}) == 403
    assert ask({"Cookie": "token=correct-horse-battery"}) == 401
    for token in ("Bearer wrong", "Bearer", "Basic correct-horse-battery", "bearer  ", "Bearer correct-horse-batter", "Bearer correct-horse-batteryx"):
        assert ask({"Authorization": token}) == 401, token
    for path in ("/mcp?token=correct-horse-battery", "/mcp?access_token=correct-horse-battery", "/mcp?ticket=correct-horse-battery"):
        assert ask({}, path) in (400, 401), path
    for protocol in (None, "graphql-ws", "MCP", "mcp2", ""):
        assert ask({**fine, "Sec-WebSocket-Protocol": protocol}) == 400, protocol
    return "403 and 401 before the upgrade; the token comes in a header only"


@case("H4", "sessions: guessed, fixed, ended, stolen streams, foreign events", on=("http",))
def sessions(t):
    import client
    ids = []
    for _ in range(4):
        c = client.Http(t.server)
        c.initialize()
        ids.append(c.session)
        assert len(c.session) >= 32 and all(0x21 <= ord(x) <= 0x7e for x in c.session)
    assert len({i[:8] for i in ids}) == 4
    for made in ("mine", ids[0][:-1], ids[0] + "0", ids[0].upper() if ids[0] != ids[0].upper() else "X", "0" * 64, "../" + ids[0]):
        code, headers, _ = t.c.exchange(body=json.dumps(PING), headers={"Mcp-Session-Id": made})
        assert code == 404, f"{made}: {code}"
    # Fixation: a client's own id is not taken over.
    fixed = client.Http(t.server, {"Mcp-Session-Id": "a" * 32})
    code, headers, _ = fixed.exchange(body=json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}}), headers={"Mcp-Session-Id": "a" * 32})
    assert headers.get("mcp-session-id") != "a" * 32
    code, _, _ = t.c.exchange(body=json.dumps(PING), headers={"Mcp-Session-Id": None})
    assert code == 400
    # One standing stream per session; a second gets 409 and the first goes on.
    c.version = "2025-11-25"
    first = http.client.HTTPConnection("127.0.0.1", t.server.port, timeout=20)
    first.request("GET", "/mcp", headers=c.fields({"Accept": "text/event-stream"}))
    assert first.getresponse().status == 200
    code, _, _ = c.exchange("GET", headers={"Accept": "text/event-stream"})
    assert code == 409, code
    for event in ("99-1", "x", "0-", "-1", "1-99999999999999999999999", "' or 1", ids[0] + "-1"):
        code, _, _ = c.exchange("GET", headers={"Accept": "text/event-stream", "Last-Event-ID": event})
        assert code in (400, 404), f"{event}: {code}"
    code, _, _ = c.exchange("DELETE")
    assert code in (200, 204)
    first.close()
    for method in ("POST", "GET", "DELETE"):
        code, _, _ = c.exchange(method, json.dumps(PING) if method == "POST" else None, {"Accept": "application/json, text/event-stream"})
        assert code == 404, f"{method} after the end: {code}"
    for i in ids:
        assert i not in t.server.log_text(), "a session's id is in the log"
    return "256 random bits; 404, 409"


def nested(opening, size):
    return opening * size


@case("H5", "giant, deep, wide, half and endless messages")
def giant_messages(t):
    before = t.server.memory_kib()
    texts = ["[" * 4_000_000, '{"a":' * 100_000, "{" + ",".join(f'"k{i}":1' for i in range(250_000)) + "}", "[" + "1," * 400_000 + "1]",
             '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', '{"jsonrpc":"2.0","id":' + "9" * 10000 + ',"method":"ping"}',
             '{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', '{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
             '{"jsonrpc":"2.0","id":1', "}", "nul", "[]", "[[]]", "{}", "null", "1", '""', '"' + "x" * 1_000_000, "[" + json.dumps(PING) + "," * 5 + "]"]
    for text in texts:
        reply = t.c.say(text)
        assert isinstance(reply, dict) and reply["error"]["code"] in (-32700, -32600, -32602), f"{text[:40]!r}: {str(reply)[:200]}"
    for bad in (b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}'):
        if t.transport == "stdio":
            t.c.send(bad)
            assert t.c.next()["error"]["code"] == -32700
        elif t.transport == "http":
            code, _, _ = t.c.post(bad)
            assert code == 400
    grown = t.server.memory_kib() - before
    assert grown < 150 << 10, f"memory grew by {grown} KiB"
    return f"-32700, -32600; {grown >> 10} MiB more"


@case("H5", "a line above the cap, in pieces; the next one is answered", on=("stdio",))
def long_line(t):
    def feed():
        for _ in range(40):
            t.c.send_bytes(b"x" * (1 << 20))
        t.c.send_bytes(b"\n")
    feeding = threading.Thread(target=feed)
    feeding.start()
    assert t.c.next()["error"]["code"] == -32700
    feeding.join()
    assert t.c.request("ping")["result"] == {}
    assert t.server.memory_kib() < 300 << 10
    return "-32700 at 16 MiB; the rest is skipped"


@case("H5", "bodies above the cap, slow heads and bodies, header floods, endless chunks, many idle streams", on=("http",))
def slow_and_big(t):
    fields = {"Host": f"127.0.0.1:{t.server.port}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
              "Connection": "close"}
    assert status(raw(t, head(t, {**fields, "Content-Length": 1 << 40}), wait_close=False)) == 413
    assert status(raw(t, head(t, {**fields, "Content-Length": (16 << 20) + 1}), wait_close=False)) == 413
    endless = head(t, {**fields, "Transfer-Encoding": "chunked"}) + (b"100000\r\n" + b"x" * (1 << 20) + b"\r\n") * 20
    assert status(raw(t, endless, wait_close=False)) in (413, 0)
    assert status(raw(t, head(t, {**fields, **{f"X-{i}": "y" for i in range(2000)}, "Content-Length": 0}))) in (400, 413, 431)
    assert status(raw(t, head(t, {**fields, "X": "y" * (1 << 20), "Content-Length": 0}))) in (400, 413, 431)
    assert status(raw(t, b"POST /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n")) in (400, 413, 414, 431)
    before = t.server.memory_kib()
    slow = []
    for i in range(300):
        s = socket.create_connection(("127.0.0.1", t.server.port), timeout=20)
        s.sendall(b"POST /mcp HTTP/1.1\r\nHost: x" if i % 2 else head(t, {**fields, "Content-Length": 1000}) + b"{")
        slow.append(s)
    assert t.c.request("ping")["result"] == {}
    grown = t.server.memory_kib() - before
    for s in slow:
        s.close()
    assert grown < 100 << 10, f"memory grew by {grown} KiB"
    return f"413 before the body; 300 slow clients cost {grown} KiB and nobody waits"


@case("H5", "answers that nobody reads, sessions that nobody ends", on=("http",))
def unread_answers(t):
    t.put("big", "x" * 39000)
    body = json.dumps({**PING, "method": "tools/call", "params": {"name": "file_read", "arguments": {"path": "big"}}})
    fields = {"Host": "localhost", "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
              "Mcp-Session-Id": t.c.session, "Content-Length": len(body)}
    grown = 0
    for round_number in range(3):
        greedy = []
        for _ in range(200):
            s = socket.create_connection(("127.0.0.1", t.server.port), timeout=20)
            s.sendall(head(t, fields) + body.encode())
            greedy.append(s)
        assert t.c.request("ping")["result"] == {}
        if round_number == 0:
            before = t.server.memory_kib()
        grown = t.server.memory_kib() - before
        for s in greedy:
            s.close()
    for _ in range(1100):
        t.c.request("initialize", {"protocolVersion": "2025-11-25"})
    assert t.c.request("ping")["result"] == {}
    assert grown < 32 << 10, f"grew by {grown} KiB"
    return f"sent and forgotten; sessions beyond 1,024 push out the oldest ({grown} KiB more)"


def modern(t, message, headers, drop=()):
    made = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": message["method"], "Mcp-Session-Id": None, **headers}
    return t.c.exchange(body=json.dumps(message), headers={k: v for k, v in made.items() if k not in drop})


@case("H6", "headers that contradict the body", on=("http",))
def contradictions(t):
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "file_list", "arguments": {}, "_meta": meta}}
    good = {"Mcp-Name": "file_list"}
    code, _, body = modern(t, call, good)
    assert code == 200 and json.loads(body)["result"]["resultType"] == "complete", body
    for headers, drop in (({**good, "MCP-Protocol-Version": "2025-11-25"}, ()), (good, ("MCP-Protocol-Version",)), ({**good, "Mcp-Method": "tools/list"}, ()),
                          (good, ("Mcp-Method",)), ({"Mcp-Name": "file_write"}, ()), ({}, ()), ({"Mcp-Name": "=?base64?Zmls!V9saXN0?="}, ()),
                          ({"Mcp-Name": "FILE_LIST"}, ()), ({**good, "Mcp-Method": "TOOLS/CALL"}, ())):
        code, _, body = modern(t, call, headers, drop)
        assert code == 400 and json.loads(body)["error"]["code"] == -32020, (headers, drop, code, body)
    code, _, body = modern(t, call, {"Mcp-Name": "=?base64?ZmlsZV9saXN0?="})
    assert code == 200, body
    for bad in ({}, {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}, {"io.modelcontextprotocol/protocolVersion": 1}):
        code, _, body = modern(t, {**call, "params": {**call["params"], "_meta": bad}}, good)
        assert code == 400 and json.loads(body)["error"]["code"] in (-32602, -32020), body
    code, _, body = modern(t, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}, {})
    assert code == 400 and json.loads(body)["error"]["code"] == -32020, body
    return "400 -32020"


@case("H7", "request smuggling and header injection", on=("ws", "http"))
def smuggling(t):
    host = f"Host: 127.0.0.1:{t.server.port}\r\n".encode()
    common = host + b"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
    inner = b"GET /smuggled HTTP/1.1\r\n" + host + b"\r\n"
    for extra in (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: +5\r\n",
                  b"Content-Length: 5, 5, 6\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding : chunked\r\n",
                  b"Content-Length: 0x5\r\n", b" folded: x\r\n", b"X: a\r\n folded\r\n", b"X\x00: a\r\n", b"X: a\nY: b\r\n", b"Host: evil.example\r\n", b": x\r\n"):
        answer = raw(t, b"POST /mcp HTTP/1.1\r\n" + common + extra + b"\r\n0\r\n\r\n" + inner, timeout=3)
        assert status(answer) in (400, 403, 501), f"{extra}: {answer[:60]}"
        assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", answer)) == 1, f"{extra}: a second request was served"
    for line in (b"GET /mcp HTTP/1.1\n" + host.replace(b"\r", b"") + b"\n", b"GET  /mcp HTTP/1.1\r\n" + host + b"\r\n", b"GET /mcp HTTP/9.9\r\n" + host + b"\r\n",
                 b"G\x00T /mcp HTTP/1.1\r\n" + host + b"\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        assert status(raw(t, line, timeout=3)) in (0, 400, 403, 404, 405, 505), line
    answer = raw(t, b"GET /mcp%0d%0aSet-Cookie:x HTTP/1.1\r\n" + host + b"Mcp-Session-Id: a\tb\r\nConnection: close\r\n\r\n", timeout=3)
    assert b"Set-Cookie" not in answer.split(b"\r\n\r\n")[0], "a header was injected"
    return "400 and the connection ends"


@case("H8", "states, tasks and handles that were not given out")
def forged_states(t):
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}

    def ask(method, params, name):
        message = {"jsonrpc": "2.0", "id": t.c.new_id(), "method": method, "params": {**params, "_meta": meta}}
        if t.transport == "http":
            _, _, body = modern(t, message, {"Mcp-Name": name})
            return json.loads(body)
        t.c.send(json.dumps(message))
        return t.c.wait(message["id"])
    for state in ("", "forged", "A" * 5000, "eyJhIjoxfQ=="):
        reply = ask("tools/call", {"name": "file_list", "arguments": {}, "requestState": state}, "file_list")
        assert reply["error"]["code"] == -32602, reply
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        reply = ask(method, {"taskId": "task-" + "0" * 32, "inputResponses": {}}, "task-" + "0" * 32)
        assert reply["error"]["code"] in (-32601, -32602), reply
    return "-32602, -32601"


@case("H9", "tokens: none, wrong, cut, another scheme, unsigned; kept out of logs", on=("http",), flags=("--token", "correct-horse-battery"))
def tokens(t):
    for field in (None, "Bearer wrong", "Bearer ", "Bearer", "Token correct-horse-battery", "Basic Y29ycmVjdA==", "Bearer correct-horse-batter",
                  "Bearer correct-horse-battery ,x", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer CORRECT-HORSE-BATTERY"):
        code, headers, body = t.c.exchange(body=json.dumps(PING), headers={"Authorization": field})
        assert code == 401 and headers["www-authenticate"].startswith("Bearer"), f"{field}: {code}"
        assert b"correct-horse" not in body
    for path in ("/mcp?token=correct-horse-battery", "/mcp?access_token=correct-horse-battery"):
        code, _, _ = t.c.exchange(body=json.dumps(PING), path=path, headers={"Authorization": None})
        assert code in (400, 401)
    good = {"Authorization": "Bearer correct-horse-battery"}
    code, headers, _ = t.c.exchange(body=json.dumps({**PING, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}), headers=good)
    assert code == 200
    # The session alone is no key.
    code, _, _ = t.c.exchange(body=json.dumps(PING), headers={"Mcp-Session-Id": headers["mcp-session-id"], "Authorization": None})
    assert code == 401
    seen = "env" + ("; cat /proc/*/cmdline /proc/*/environ | tr '\\0' ' '" if t.isolate else "")
    message = {**PING, "method": "tools/call", "params": {"name": "terminal_exec", "arguments": {"command": seen}}}
    env = t.c.exchange(body=json.dumps(message), headers={**good, "Mcp-Session-Id": headers["mcp-session-id"]})[2]
    assert b"correct-horse" not in env, "a command can see the token"
    assert "correct-horse" not in t.server.log_text()
    return "401 with WWW-Authenticate"


@case("H10", "ids: in flight twice, 1 and \"1\" and 1.0, null; cancels that are late, early, of nothing")
def ids(t):
    if t.transport == "http":
        first = t.c.begin_call("terminal_exec", command="sleep 3")
        time.sleep(0.3)
        code, _, body = t.c.post(t.c.message("ping", None, first))
        assert json.loads(body)["error"]["code"] == -32600, body
        t.c.cancel(first)
    else:
        t.c.send('{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{"name":"terminal_exec","arguments":{"command":"sleep 3"}}}')
        t.c.send('{"jsonrpc":"2.0","id":"same","method":"ping"}')
        assert t.c.next()["error"]["code"] == -32600
        t.c.cancel("same")
    for number in (1, "1", -1, 0, "", "x" * 1000, 2 ** 53, -2 ** 63):
        reply = t.c.say(json.dumps({**PING, "id": number}))
        assert reply["id"] == number and type(reply["id"]) is type(number) and reply["result"] == {}, reply
    for number in ("null", "1.0", "1.5", "true", "[1]", "{}"):
        reply = t.c.say('{"jsonrpc":"2.0","id":%s,"method":"ping"}' % number)
        assert reply["error"]["code"] == -32600 and reply.get("id") is None, reply
    for number in (99999, "1", None, [1], 1.5, "never"):
        t.c.notify("notifications/cancelled", {"requestId": number, "reason": "x"})
    t.c.notify("notifications/cancelled")
    for _ in range(20):
        number = t.c.begin_call("file_list")
        t.c.cancel(number)
        if t.transport == "http":
            t.c.waiting.pop(number, None)
    assert t.c.request("ping")["result"] == {}
    return "-32600 for what is no id; late cancels are ignored"


@case("H11", "unknown paths and well-known addresses", on=("ws", "http"))
def unknown_paths(t):
    begun = time.monotonic()
    import client
    ask = client.Http(t.server)
    for path in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp", "/mcp/.well-known/openid-configuration",
                 "/.well-known/oauth-authorization-server/mcp", "/sse", "/../etc/passwd", "/mcp/../../etc/passwd", "/%2e%2e/x", "/favicon.ico"):
        code, _, body = ask.exchange("GET", path=path)
        assert code in (400, 404, 405), f"{path}: {code}"
        assert b"root:" not in body
    assert time.monotonic() - begun < 20
    return "404 at once"


@case("H12", "newlines and control characters on their way into logs and notifications")
def log_injection(t):
    evil = 'x\n{"level":"error","message":"FORGED"}\r\n\x1b[31m'
    t.c.request(evil, {})
    t.call("file_read", path=evil)
    t.call(evil)
    t.call("terminal_exec", command="echo hi", cwd=evil)
    if t.transport != "stdio":
        import client
        client.Http(t.server).exchange("GET", path="/x%0a%0dFORGED", headers={"User-Agent": "x\tFORGED"})
    for line in t.server.log_text().splitlines():
        assert "\x1b" not in line and not line.startswith('{"level":"error","message":"FORGED"'), line
        if line.strip():
            json.loads(line)
    return "each line of the log is one JSON text of ours"


@case("H13", "hints that lie")
def hints(t):
    tools = {x["name"]: x["annotations"] for x in t.c.request("tools/list")["result"]["tools"]}
    reading = {"file_read", "file_list", "file_search", "git_status", "git_diff", "git_log", "git_show", "process_read", "process_list"}
    assert {n for n, a in tools.items() if a["readOnlyHint"]} == reading, tools
    for name, a in tools.items():
        assert set(a) >= {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}, name
        assert not (a["readOnlyHint"] and a["destructiveHint"]), name
    before = sorted(os.listdir(t.root))
    for name in sorted(reading):
        t.call(name, path="new-" + name)
        t.call(name)
    assert sorted(os.listdir(t.root)) == before, "a tool that reads has written"
    return "audited"


_ = (refused, succeeded, text_of, nested)
