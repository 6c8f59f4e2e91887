#!/usr/bin/env python3
"""bodies_test.py BUILD_DIR: the exact answers of caged-mcp-server in every revision, on stdio, WebSocket and HTTP."""

import json
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "security/mcp"))
import client  # noqa: E402

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
KEY = "io.modelcontextprotocol/"
INSTRUCTIONS = ("Files, commands and git of one folder, the workspace; paths are relative to it and cannot leave it. Prefer file_search and "
                "file_read over commands. Long results come in pages and say where to go on.")


class Talk:
    """A channel that speaks one revision: what it sends carries what that revision wants."""

    def __init__(self, server, revision):
        self.server, self.revision = server, revision
        self.c = server.connect()
        self.http = server.transport == "http"

    def envelope(self, params, version=MODERN):
        meta = {KEY + "protocolVersion": version, KEY + "clientCapabilities": {}, **params.get("_meta", {})}
        return {**params, "_meta": meta}

    def headers(self, method, params, version=MODERN):
        named = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}.get(method) or ("taskId" if method.startswith("tasks/") else None)
        fields = {"MCP-Protocol-Version": version, "Mcp-Method": method, "Mcp-Session-Id": None}
        return {**fields, "Mcp-Name": params.get(named, "")} if named else fields

    def ask(self, method, params=None, number=None, version=MODERN):
        """(answer, what came before it, HTTP status)."""
        number = self.c.new_id() if number is None else number
        params = dict(params or {})
        fields = None
        if self.revision == MODERN:
            params = self.envelope(params, version)
            fields = self.headers(method, params, version)
        return self.say(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), fields)

    def say(self, text, fields=None):
        if self.http:
            status, headers, body = self.c.post(text, fields)
            messages = self.c.messages(headers, body)
            return (messages[-1] if messages else None), messages[:-1], status
        self.c.send(text)
        before = []
        while True:
            got = self.c.next()
            if isinstance(got, list) or "method" not in got:
                return got, before, None
            before.append(got)


def check(where, got, wanted):
    if got != wanted:
        raise AssertionError(f"{where}\n  got    {json.dumps(got, sort_keys=True)}\n  wanted {json.dumps(wanted, sort_keys=True)}")


def result(number, revision, body, version):
    if revision == MODERN:
        body = {**body, "resultType": "complete", "_meta": {KEY + "serverInfo": {"name": "caged-mcp-server", "version": version}}}
    return {"jsonrpc": "2.0", "id": number, "result": body}


def error(number, code, message, data=None):
    body = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return {"jsonrpc": "2.0", "id": number, "error": body}


def beginning(t, version):
    """How a conversation begins in each era, and what is offered to whom asks for what there is not."""
    r = t.revision
    if r == MODERN:
        got, _, _ = t.ask("server/discover", number="server-discover-probe-1")
        check("discover", got, result("server-discover-probe-1", r, {
            "supportedVersions": [MODERN], "capabilities": {"tools": {}}, "instructions": INSTRUCTIONS, "ttlMs": 0, "cacheScope": "public"}, version))
        got, _, status = t.ask("tools/list", number=2, version="2030-01-01")
        check("unknown version", got, error(2, -32022, "Unsupported protocol version", {"supported": [MODERN], "requested": "2030-01-01"}))
        assert status in (None, 400)
        return
    info = {"name": "caged-mcp-server", "version": version, **({"title": "Caged"} if r >= "2025-06-18" else {})}
    number = t.c.last_id + 1
    got = t.c.initialize(r)
    check("initialize", got, result(number, r, {"protocolVersion": r, "capabilities": {"tools": {}}, "serverInfo": info, "instructions": INSTRUCTIONS}, version))
    if t.server.transport != "stdio":
        other = t.server.connect()
        got = other.request("initialize", {"protocolVersion": "1999-01-01"})
        assert got["result"]["protocolVersion"] == "2025-11-25", got
        other.close()


def lists(t, version):
    r = t.revision
    number = t.c.last_id + 1
    got, _, _ = t.ask("tools/list")
    names = [x["name"] for x in got["result"]["tools"]]
    assert names == ["file_read", "file_write", "file_edit", "file_list", "file_delete", "file_search", "terminal_exec", "process_start",
                     "process_read", "process_write", "process_signal", "process_list", "git_status", "git_diff", "git_log", "git_commit",
                     "git_show", "git_branch"], names
    assert len(json.dumps(got["result"], separators=(",", ":"), ensure_ascii=False)) <= 12288
    row = next(x for x in got["result"]["tools"] if x["name"] == "process_list")
    hints = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
    wanted = {"name": "process_list", "description": "Processes that were started here and are still known.",
              "inputSchema": {"type": "object", "properties": {}, "required": []}}
    if r == "2025-03-26":
        wanted["annotations"] = {**hints, "title": "List processes"}
    elif r >= "2025-06-18":
        wanted.update({"title": "List processes", "annotations": hints, "outputSchema": {
            "type": "object", "properties": {"processes": {"type": "array", "items": {"type": "object"}}}, "required": ["processes"]}})
    check("an entry of tools/list", row, wanted)
    others = {"jsonrpc": "2.0", "id": number, "result": {"tools": got["result"]["tools"]}}
    if r == MODERN:
        others = result(number, r, {"tools": got["result"]["tools"], "ttlMs": 0, "cacheScope": "public"}, version)
    check("tools/list around its entries", got, others)
    for cursor in ("", "from-1", 7):
        got, _, _ = t.ask("tools/list", {"cursor": cursor}, number=50)
        check("bad cursor", got, error(50, -32602, "Invalid params: unknown cursor. Ask for the list without one"))


def calls(t, version):
    r = t.revision
    structured = r >= "2025-06-18"
    def tool(name, arguments, number):
        return t.ask("tools/call", {"name": name, "arguments": arguments}, number=number)[0]
    def answer(text, data=None, failed=False):
        body = {"content": [{"type": "text", "text": text}]}
        if data is not None and structured:
            body["structuredContent"] = data
        return {**body, "isError": True} if failed else body
    check("a call", tool("process_list", {}, "a"), result("a", r, answer("no processes", {"processes": []}), version))
    check("a file", tool("file_read", {"path": "two.txt"}, 10 ** 9), result(10 ** 9, r, answer("one\ntwo\n", {
        "path": "two.txt", "size": 8, "first_line": 1, "last_line": 2, "total_lines": 2, "truncated": False, "content": "one\ntwo\n"}), version))
    check("a page", tool("file_read", {"path": "two.txt", "limit": 1}, -5), result(-5, r, answer("one\n\n[lines 1-1 of 2; go on with offset 2]", {
        "path": "two.txt", "size": 8, "first_line": 1, "last_line": 1, "total_lines": 2, "truncated": True, "next_offset": 2, "content": "one\n"}), version))
    picture = tool("file_read", {"path": "dot.png"}, 8)
    body = {"content": [{"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="}]}
    if structured:
        body["structuredContent"] = {"path": "dot.png", "size": 8, "mime_type": "image/png", "truncated": False}
    check("a picture", picture, result(8, r, body, version))
    failed = tool("file_read", {"path": "none"}, 9)
    check("a failed tool", failed, result(9, r, answer(failed["result"]["content"][0]["text"], failed=True), version))
    assert "No such file" in failed["result"]["content"][0]["text"] and "structuredContent" not in failed["result"]
    for arguments, text in (({"path": 7}, "path is not a string"), ({"path": "two.txt", "wrong": 1}, 'unknown argument "wrong". file_read takes: byte_limit, byte_offset, encoding, limit, offset, path.'),
                            ({"path": "two.txt", "offset": 0}, "offset is 0. Lines count from 1; -20 means the last 20.")):
        got = tool("file_read", arguments, 11)
        if r >= "2025-11-25":
            said = got["result"]["content"][0]["text"]
            check("bad arguments", got, result(11, r, answer(said, failed=True), version))
        else:
            said = got["error"]["message"].removeprefix("Invalid params: ")
            check("bad arguments", got, error(11, -32602, "Invalid params: " + said))
        assert said.startswith(text), f"{said!r} is not {text!r}"
    check("unknown tool", tool("nope", {}, 12), error(12, -32602, "Unknown tool: nope"))
    got, _, _ = t.ask("tools/call", {"arguments": {}}, number=13) if not (t.http and r == MODERN) else (None, None, None)
    if got:
        check("no name", got, error(13, -32602, 'Invalid params: "name" must be a string'))
    check("arguments", t.ask("tools/call", {"name": "file_list", "arguments": []}, number=14)[0],
          error(14, -32602, 'Invalid params: "arguments" must be an object'))


def methods(t, version):
    r = t.revision
    got, _, status = t.ask("ping", number=20)
    check("ping", got, error(20, -32601, "Method not found: ping") if r == MODERN else result(20, r, {}, version))
    assert status in (None, 404 if r == MODERN else 200), status
    for method in ("nope", "resources/list", "prompts/get", "logging/setLevel", "tasks/get", "resources/subscribe"):
        got, _, status = t.ask(method, {"name": "x", "taskId": "x"}, number=21)
        check(method, got, error(21, -32601, "Method not found: " + method))
        assert status in (None, 404 if r == MODERN else 200), status
    if r == MODERN:
        got, _, _ = t.ask("initialize", {"protocolVersion": "2025-11-25"}, number=22) if not t.http else ({}, 0, 0)
        if got:
            check("initialize", got, error(22, -32601, "Method not found: initialize"))
    else:
        got, _, _ = t.ask("subscriptions/listen", {"notifications": {}}, number=23)
        check("listen", got, error(23, -32601, "Method not found: subscriptions/listen"))
        got, _, _ = t.ask("server/discover", number=24)
        check("discover", got, error(24, -32601, "Method not found: server/discover"))


def malformed(t, version):
    """What no request can be, and the id of its answer."""
    r = t.revision
    fields = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "ping", "Mcp-Session-Id": None} if r == MODERN else None
    def without_id(number, code, message):
        made = error(number, code, message)
        if r == MODERN and number is None:
            del made["id"]
        return made
    got, _, _ = t.say('{"jsonrpc":', fields)
    check("half", got, without_id(None, -32700, got["error"]["message"]))
    assert got["error"]["message"].startswith("Parse error: not JSON"), got
    got, _, _ = t.say('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', fields)
    check("twice", got, without_id(None, -32700, 'Parse error: the member "id" is given twice in one object'))
    batch = json.dumps([{"jsonrpc": "2.0", "id": 31, "method": "ping"}, {"jsonrpc": "2.0", "id": 32, "method": "nope"},
                        {"jsonrpc": "2.0", "method": "notifications/initialized"}])
    if r != MODERN:
        got, _, _ = t.say('{"jsonrpc":"1.0","id":30,"method":"ping"}')
        check("version", got, error(30, -32600, 'Invalid Request: "jsonrpc" must be "2.0"'))
        got, _, _ = t.say('{"jsonrpc":"2.0","id":null,"method":"ping"}')
        check("null", got, error(None, -32600, 'Invalid Request: "id" must be a string or an integer'))
        got, _, _ = t.say('{"jsonrpc":"2.0","id":33,"method":"ping","params":[]}')
        check("params", got, error(33, -32600, 'Invalid Request: "params" must be an object'))
        got, _, _ = t.say(batch)
        if r == "2025-03-26":
            check("batch", got, [result(31, r, {}, version), error(32, -32601, "Method not found: nope")])
        else:
            check("batch", got, error(None, -32600, "Invalid Request: batches exist in revision 2025-03-26 only. Send one message at a time"))
        got, _, _ = t.say("[]")
        check("empty batch", got, error(None, -32600, "Invalid Request: an empty batch"))


def progress(t, version):
    r = t.revision
    got, before, _ = t.ask("tools/call", {"name": "terminal_exec", "arguments": {"command": "echo first; sleep 0.7; echo last; sleep 0.7"},
                                          "_meta": {"progressToken": "p"}}, number=40)
    assert got["id"] == 40 and got["result"]["content"][0]["text"] == "first\nlast\n", got
    assert before and all(m["method"] == "notifications/progress" for m in before), before
    values = [m["params"]["progress"] for m in before]
    assert values == sorted(set(values)), values
    wanted = {"progressToken": "p", "progress": values[-1]}
    if r >= "2025-03-26":
        wanted["message"] = before[-1]["params"]["message"]
        assert wanted["message"] in ("first", "last")
    check("progress", before[-1], {"jsonrpc": "2.0", "method": "notifications/progress", "params": wanted})


def listening(t, version):
    """subscriptions/listen: acknowledged with what is honoured, which is nothing; ended by a cancel."""
    if t.revision != MODERN or t.http:
        return
    params = t.envelope({"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///x"]}})
    t.c.send(json.dumps({"jsonrpc": "2.0", "id": "listen:0", "method": "subscriptions/listen", "params": params}))
    check("acknowledged", t.c.next(), {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                                       "params": {"notifications": {}, "_meta": {KEY + "subscriptionId": "listen:0"}}})
    got, _, _ = t.ask("tools/list", number="listen:0")
    check("id of a subscription", got, error("listen:0", -32600, "Invalid Request: the id is that of a request under way"))
    t.c.notify("notifications/cancelled", {"requestId": "listen:0"})
    got, _, _ = t.ask("tools/list", number="listen:0")
    assert "result" in got, got


PARTS = (beginning, lists, calls, methods, malformed, progress, listening)


def main():
    program = sys.argv[1] + "/bin/caged-mcp-server"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    done, failures = 0, []
    for transport in ("stdio", "ws", "http"):
        for revision in (*LEGACY, MODERN):
            server = client.Server(program, transport)
            server.put("two.txt", "one\ntwo\n")
            server.put("dot.png", b"\x89PNG\r\n\x1a\n")
            try:
                talk = Talk(server, revision)
                for part in PARTS:
                    try:
                        part(talk, version)
                        done += 1
                    except Exception as e:  # noqa: BLE001
                        failures.append(f"{transport} {revision} {part.__name__}: {type(e).__name__} {e}")
            finally:
                server.stop()
    for failure in failures:
        print(failure)
    print(f"{done} of {len(PARTS) * 15} parts are as they must be")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
