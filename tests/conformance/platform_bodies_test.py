#!/usr/bin/env python3
"""platform_bodies_test.py BUILD_DIR: the exact answers of the platform's MCP with the fixture plugin: resources, prompts,
logging, questions to the client, tasks, subscriptions, resumption; on Streamable HTTP, WebSocket and `caged mcp`."""

import http.client
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from bodies_test import KEY, LEGACY, MODERN, Talk, check, error  # noqa: E402
import client  # noqa: E402
from world import Server  # noqa: E402

TASKS = KEY + "tasks"
INFO = None  # the server's name and version, as it says them itself


class Platform:
    """What the channels want to know of a server, with the key in each head."""

    def __init__(self, server, build, transport):
        self.transport, self.key, self.url = transport, server.key, server.url
        self.port, self.process = int(server.url.rsplit(":", 1)[1]), None
        if transport == "stdio" and build:
            variables = {**os.environ, "CAGED_API_URL": server.url, "CAGED_API_KEY": server.key}
            self.process = subprocess.Popen([f"{build}/bin/caged", "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, bufsize=0)

    def connect(self):
        headers = {"Authorization": "Bearer " + self.key}
        if self.transport == "stdio":
            self.pipe = getattr(self, "pipe", None) or client.Stdio(self)  # a pipe has one reader
            return self.pipe
        return client.WebSocket(self, "/mcp/ws", headers) if self.transport == "ws" else client.Http(self, headers)

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(30)


class Asker(Talk):
    """A stateless client with capabilities."""

    def __init__(self, platform, capabilities=None):
        super().__init__(platform, MODERN)
        self.capabilities = capabilities or {}

    def envelope(self, params, version=MODERN):
        made = super().envelope(params, version)
        made["_meta"][KEY + "clientCapabilities"] = self.capabilities
        return made


def done(number, revision, body):
    if revision == MODERN:
        body = {**body, "resultType": body.get("resultType", "complete"), "_meta": {KEY + "serverInfo": INFO}}
    return {"jsonrpc": "2.0", "id": number, "result": body}


def text(*words):
    return {"content": [{"type": "text", "text": w} for w in words]}


def resources(p, r):
    t = begin(p, r)
    got, _, _ = t.ask("resources/read", {"uri": "test://static-text"}, number=1)
    body = {"contents": [{"uri": "test://static-text", "mimeType": "text/plain", "text": "This is the content of the static text resource."}]}
    if r == MODERN:
        body.update({"ttlMs": 0, "cacheScope": "private"})
    check("a resource", got, done(1, r, body))
    got, _, _ = t.ask("resources/read", {"uri": "test://template/a%20b%2Fc/data"}, number=2)
    inside = json.loads(got["result"]["contents"][0]["text"])
    check("a template", inside, {"id": "a b/c", "templateTest": True, "data": "Data for ID: a b/c"})
    got, _, status = t.ask("resources/read", {"uri": "test://none"}, number=3)
    check("a missing one", got, error(3, -32602 if r == MODERN else -32002, "Resource not found: test://none", {"uri": "test://none"}))
    assert status in (None, 200)
    got, _, _ = t.ask("resources/subscribe", {"uri": "test://watched-resource"}, number=4)
    check("subscribe", got, error(4, -32601, "Method not found: resources/subscribe") if r == MODERN else done(4, r, {}))
    got, _, _ = t.ask("resources/unsubscribe", {"uri": "test://watched-resource"}, number=5)
    check("unsubscribe", got, error(5, -32601, "Method not found: resources/unsubscribe") if r == MODERN else done(5, r, {}))


def prompts(p, r):
    t = begin(p, r)
    got, _, _ = t.ask("prompts/get", {"name": "test_prompt_with_arguments", "arguments": {"arg1": "hello", "arg2": "world"}}, number=1)
    check("a prompt", got, done(1, r, {"messages": [{"role": "user", "content": {"type": "text", "text": "Prompt with arguments: arg1='hello', arg2='world'"}}]}))
    check("unknown", t.ask("prompts/get", {"name": "none"}, number=2)[0], error(2, -32602, "Unknown prompt: none"))
    got, _, _ = t.ask("completion/complete", {"ref": {"type": "ref/prompt", "name": "test_prompt_with_arguments"}, "argument": {"name": "arg1", "value": "x"}}, number=3)
    check("completion", got, done(3, r, {"completion": {"values": [], "total": 0, "hasMore": False}}))
    got, _, _ = t.ask("tools/call", {"name": "test_audio_content"}, number=4)
    block = got["result"]["content"][0]
    assert (block["type"] == "audio") == (r >= "2025-03-26"), block


def logs(p, r):
    t = begin(p, r)
    if r != MODERN:
        check("level", t.ask("logging/setLevel", {"level": "info"}, number=1)[0], done(1, r, {}))
        got, _, _ = t.ask("logging/setLevel", {"level": "loud"}, number=2)
        check("no level", got, error(2, -32602, 'Invalid params: "level" must be debug, info, notice, warning, error, critical, alert or emergency'))
    for level, heard in (("info", 3), ("error", 0), (None, 0 if r == MODERN else 3)):
        params = {"name": "test_tool_with_logging", "arguments": {}}
        if r == MODERN and level:
            params["_meta"] = {KEY + "logLevel": level}
        elif r != MODERN:
            t.ask("logging/setLevel", {"level": level or "debug"})
        got, before, _ = t.ask("tools/call", params, number=3)
        check("logged", got, done(3, r, text("logged")))
        wanted = [{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": d}}
                  for d in ("Tool execution started", "Tool processing data", "Tool execution completed")]
        check(f"messages at {level}", [m for m in before if m["method"] == "notifications/message"], wanted if heard else [])
    got, before, _ = t.ask("tools/call", {"name": "test_tool_with_progress", "arguments": {}, "_meta": {"progressToken": 7}}, number=4)
    steps = [{"progressToken": 7, "progress": n, "total": 100, **({"message": "step"} if r >= "2025-03-26" else {})} for n in (0, 50, 100)]
    check("progress", [m["params"] for m in before], steps)


FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "What is your name?", "requestedSchema": {
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}


def questions(p, r):
    """input_required and its rounds; in the handshake revisions the same is a request to the client."""
    call = {"name": "test_input_required_result_elicitation", "arguments": {}}
    if r != MODERN:
        if p.transport == "http":
            return
        t = Talk(p, r)
        t.c.request("initialize", {"protocolVersion": r, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "x", "version": "1"}})
        number = t.c.begin("tools/call", call)
        asked = t.c.next()
        assert asked["method"] == "elicitation/create" and asked["params"]["message"] == "What is your name?", asked
        t.c.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"name": "Ann"}}}))
        check("answered", t.c.wait(number), done(number, r, text("Hello, Ann!")))
        return
    t = Asker(p, {"elicitation": {}})
    got, _, _ = t.ask("tools/call", call, number=1)
    state = got["result"].pop("requestState")
    question = got["result"]["inputRequests"]["user_name"]
    assert question["method"] == "elicitation/create" and question["params"]["requestedSchema"] == FORM["params"]["requestedSchema"], question
    check("asked", got, done(1, r, {"resultType": "input_required", "inputRequests": {"user_name": question}}))
    answer = {"action": "accept", "content": {"name": "Ann"}}
    got, _, _ = t.ask("tools/call", {**call, "requestState": state, "inputResponses": {"user_name": answer, "extra": {}}}, number=2)
    check("answered", got, done(2, r, text("Hello, Ann!")))
    got, _, _ = t.ask("tools/call", {**call, "requestState": state, "inputResponses": {"wrong": answer}}, number=3)
    assert got["result"]["resultType"] == "input_required", got
    for forged in (state[:-4] + "AAA=", state + "x", "x"):
        got, _, _ = t.ask("tools/call", {**call, "requestState": forged, "inputResponses": {"user_name": answer}}, number=4)
        check("forged", got, error(4, -32602, 'Invalid params: "requestState" is not what this server gave out for this request'))
    other = {"name": "test_input_required_result_request_state", "arguments": {}}
    got, _, _ = t.ask("tools/call", {**other, "requestState": state, "inputResponses": {}}, number=5)
    check("of another request", got, error(5, -32602, 'Invalid params: "requestState" is not what this server gave out for this request'))
    got, _, status = Asker(p).ask("tools/call", call, number=6)
    check("who cannot answer", got, error(6, -32021, "Missing required client capability", {"requiredCapabilities": {"elicitation": {}}}))
    assert status in (None, 400)


def tasks(p, r):
    if r != MODERN:
        t = begin(p, r)
        check("no tasks", t.ask("tasks/get", {"taskId": "x"}, number=1)[0], error(1, -32601, "Method not found: tasks/get"))
        return
    wanted = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    check("not declared", Asker(p).ask("tasks/get", {"taskId": "x"}, number=1)[0], error(1, -32021, "Missing required client capability", wanted))
    t = Asker(p, {"extensions": {TASKS: {}}, "elicitation": {}})
    check("unknown", t.ask("tasks/get", {"taskId": "x"}, number=2)[0],
          error(2, -32602, "Invalid params: there is no such task, or it has been forgotten"))
    got, _, _ = t.ask("tools/call", {"name": "confirm_delete", "arguments": {"filename": "f"}}, number=3)
    task = got["result"]["taskId"]
    assert len(task) >= 32 and got["result"]["resultType"] == "task" and got["result"]["status"] in ("working", "input_required"), got
    assert set(got["result"]) >= {"createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"} and "requestState" not in got["result"]
    shown = wait_for(t, task, "input_required")
    assert list(shown["inputRequests"]) == ["confirm"], shown
    got, _, _ = t.ask("tasks/update", {"taskId": task, "inputResponses": {"other": {}, "confirm": {"action": "accept", "content": {"confirm": True}}}}, number=4)
    check("update", got, done(4, r, {}))
    shown = wait_for(t, task, "completed")
    check("its result", shown["result"]["content"], text("answered: accept")["content"])
    got, _, _ = t.ask("tools/call", {"name": "slow_compute", "arguments": {"seconds": 30, "label": "x"}}, number=5)
    task = got["result"]["taskId"]
    for number in (6, 7):
        check("cancel", t.ask("tasks/cancel", {"taskId": task}, number=number)[0], done(number, r, {}))
    wait_for(t, task, "cancelled")
    check("list", t.ask("tasks/list", {}, number=8)[0], error(8, -32601, "Method not found: tasks/list"))


def wait_for(t, task, status):
    until = time.monotonic() + client.PATIENCE
    while time.monotonic() < until:
        got, _, _ = t.ask("tasks/get", {"taskId": task})
        if got["result"]["status"] == status:
            return got["result"]
        time.sleep(0.02)
    raise AssertionError(f"the task is {got['result']['status']}, not {status}")


def listening(p, r):
    if r != MODERN:
        return
    t = Asker(p)
    params = t.envelope({"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["test://watched-resource"], "nonsense": True}})
    ask = {"jsonrpc": "2.0", "id": 77, "method": "subscriptions/listen", "params": params}
    acknowledged = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
        "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["test://watched-resource"]}, "_meta": {KEY + "subscriptionId": 77}}}
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": {KEY + "subscriptionId": 77}}}
    call = {"name": "test_trigger_tool_change", "arguments": {}}
    if p.transport != "http":
        t.c.send(json.dumps(ask))
        check("acknowledged", t.c.next(), acknowledged)
        t.c.send(json.dumps({"jsonrpc": "2.0", "id": 78, "method": "tools/call", "params": t.envelope(call)}))
        got = [t.c.next(), t.c.next()]
        assert changed in got and done(78, r, text("changed")) in got, got
        return
    stream = Stream(t.c, "POST", json.dumps(ask), t.headers("subscriptions/listen", {}))
    check("acknowledged", stream.message()[1], acknowledged)
    check("changed", t.ask("tools/call", call, number=78)[0], done(78, r, text("changed")))
    number, got = stream.message()
    check("told", got, changed)
    assert number is None, "a stateless stream has event ids"
    stream.close()


class Stream:
    """Server-sent events of one answer, one by one."""

    def __init__(self, c, method, body=None, headers=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", c.server.port, timeout=client.PATIENCE)
        self.connection.request(method, "/mcp", body, c.fields(headers))
        self.reply = self.connection.getresponse()

    def event(self):
        """{id, data, retry …} of the next event; None at the end. Comments are skipped."""
        fields = {}
        while True:
            line = self.reply.readline().decode()
            if not line:
                return None
            line = line.rstrip("\n").rstrip("\r")
            if not line and fields:
                return fields
            if line and not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")

    def message(self):
        while (got := self.event()) is not None:
            if got.get("data"):
                return got.get("id"), json.loads(got["data"])
        return None, None

    def close(self):
        self.connection.close()


def resumption(p, r):
    """A stream that the server closes in the middle goes on where it was; ended sessions are gone; versions are checked."""
    if p.transport != "http" or r == MODERN:
        return
    t = begin(p, r)
    call = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "test_reconnection", "arguments": {}}})
    stream = Stream(t.c, "POST", call)
    wanted = done(9, r, text("Reconnection test completed successfully"))
    if r == "2025-11-25":
        first = stream.event()
        assert first["data"] == "" and first["id"], f"no priming event: {first}"
        rest = []
        while (got := stream.event()) is not None:
            rest.append(got)
        assert [x for x in rest if "retry" in x] and not [x for x in rest if x.get("data")], rest
        again = Stream(t.c, "GET", headers={"Last-Event-ID": first["id"], "Content-Type": None})
        assert again.reply.status == 200
        number, got = again.message()
        check("resumed", got, wanted)
        assert number and number != first["id"] and number.split("-")[0] == first["id"].split("-")[0]
        again.close()
        # Who had it already gets nothing twice.
        once_more = Stream(t.c, "GET", headers={"Last-Event-ID": number, "Content-Type": None})
        assert once_more.message() == (None, None)
        once_more.close()
    else:
        got = json.loads(stream.reply.read()) if "json" in stream.reply.headers["Content-Type"] else stream.message()[1]
        check("in one piece", got, wanted)
    stream.close()
    status, _, body = t.c.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}), {"MCP-Protocol-Version": "1999-01-01"})
    assert status == 400, (status, body)
    status, _, _ = t.c.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}), {"MCP-Protocol-Version": None})
    assert status == 200
    status, headers, body = t.c.post(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    assert (status, body) == (202, b""), (status, body)
    assert t.c.exchange("DELETE")[0] == 200
    for method in ("POST", "GET", "DELETE"):
        status, _, body = t.c.exchange(method, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) if method == "POST" else None)
        assert status == 404, (method, status)
        check("gone", json.loads(body), error(None, -32001, "there is no such session. Begin with initialize"))


def principals(p, r):
    """What one key was given, another key cannot use: sessions, streams, events, tasks, states."""
    other = Platform(p, None, p.transport)
    other.key = another_key(p)
    if p.transport == "http" and r != MODERN:
        t, thief = begin(p, r), begin(other, r)
        stolen = {"Mcp-Session-Id": t.c.session}
        for method in ("POST", "GET", "DELETE"):
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) if method == "POST" else None
            status, _, answer = thief.c.exchange(method, body, {**stolen, "Last-Event-ID": "1-0"})
            assert status == 404, (method, status)
            check("another's session", json.loads(answer), error(None, -32001, "there is no such session. Begin with initialize"))
        check("it goes on", t.ask("ping", number=2)[0], done(2, r, {}))
    if p.transport == "stdio" or r != MODERN:
        return
    able = {"extensions": {TASKS: {}}, "elicitation": {}}
    t, thief = Asker(p, able), Asker(other, able)
    got, _, _ = t.ask("tools/call", {"name": "slow_compute", "arguments": {"seconds": 30, "label": "x"}}, number=1)
    task = got["result"]["taskId"]
    for number, method in enumerate(("tasks/get", "tasks/cancel", "tasks/update"), 2):
        check(method, thief.ask(method, {"taskId": task, "inputResponses": {}}, number=number)[0],
              error(number, -32602, "Invalid params: there is no such task, or it has been forgotten"))
    assert t.ask("tasks/get", {"taskId": task})[0]["result"]["status"] == "working"
    t.ask("tasks/cancel", {"taskId": task})
    call = {"name": "test_input_required_result_elicitation", "arguments": {}}
    state = t.ask("tools/call", call)[0]["result"]["requestState"]
    answer = {"user_name": {"action": "accept", "content": {"name": "Ann"}}}
    check("another's state", thief.ask("tools/call", {**call, "requestState": state, "inputResponses": answer}, number=9)[0],
          error(9, -32602, 'Invalid params: "requestState" is not what this server gave out for this request'))
    check("its own", t.ask("tools/call", {**call, "requestState": state, "inputResponses": answer}, number=10)[0], done(10, r, text("Hello, Ann!")))


def another_key(p):
    asked = http.client.HTTPConnection("127.0.0.1", p.port, timeout=client.PATIENCE)
    asked.request("POST", "/v1/account/keys", json.dumps({"name": "other " + os.urandom(4).hex(), "scope": "full"}),
                  {"Authorization": "Bearer " + p.key, "Content-Type": "application/json"})
    return json.loads(asked.getresponse().read())["key"]


def begin(p, r):
    t = Talk(p, r)
    if r != MODERN:
        got = t.c.initialize(r)
        assert got["result"]["protocolVersion"] == r
        assert ("completions" in got["result"]["capabilities"]) == (r >= "2025-03-26"), got
    return t


PARTS = (resources, prompts, logs, questions, tasks, listening, resumption, principals)


def main():
    global INFO
    build = str(os.path.realpath(sys.argv[1]))
    server = Server(build, [f"{build}/tests/conformance/plugins"])
    count, failures = 0, []
    try:
        discovered, _, _ = Talk(Platform(server, build, "http"), MODERN).ask("server/discover")
        INFO = discovered["result"]["_meta"][KEY + "serverInfo"]
        for transport in ("http", "ws", "stdio"):
            for revision in (*LEGACY, MODERN):
                for part in PARTS:
                    platform = Platform(server, build, transport)
                    try:
                        part(platform, revision)
                        count += 1
                    except Exception as e:  # noqa: BLE001
                        failures.append(f"{transport} {revision} {part.__name__}: {type(e).__name__} {e}")
                    finally:
                        platform.stop()
    finally:
        server.stop()
    for failure in failures:
        print(failure)
    print(f"{count} of {len(PARTS) * 15} parts are as they must be")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
