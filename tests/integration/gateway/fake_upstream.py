"""A model provider for tests: speaks Anthropic, OpenAI and Gemini as the real ones stream, faults included.

The model's name asks for the behaviour: words after the first "--", joined by "-":
  fail500[xN] fail429[xN]   fails (the first N times, else always)
  cut                       ends the connection in the middle of the stream
  slow                      pauses between events
  outN                      answers N words (8 without it)
  edit                      has a coding agent read /workspace/greeting.txt and change it, by the agent's own tools
"""

import argparse
import json
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORD = "word "
seen = Counter()
requests = []


def wishes(model):
    words = model.split("--", 1)[1].split("-") if "--" in model else []
    out = {"words": 8}
    for w in words:
        if w.startswith("out"):
            out["words"] = int(w[3:])
        elif w.startswith("fail"):
            code, _, times = w[4:].partition("x")
            out["fail"] = (int(code), int(times) if times else None)
        else:
            out[w] = True
    return out


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def send_json(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data)

    def begin_events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("request-id", "req_fake")
        self.end_headers()

    def event(self, data, name=None):
        text = (f"event: {name}\n" if name else "") + "data: " + (data if isinstance(data, str) else json.dumps(data)) + "\n\n"
        raw = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
        self.wfile.flush()
        if self.wish.get("slow"):
            time.sleep(0.05)

    def end_events(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def cut(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def do_GET(self):
        if self.path == "/seen":
            return self.send_json(200, requests[-100:])
        if self.path.startswith("/v1/models"):
            return self.send_json(200, {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "type": "model", "display_name": "x", "created_at": "2025-01-01T00:00:00Z"}], "has_more": False})
        self.send_json(404, {"error": {"message": "no such path", "type": "not_found"}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        doc = json.loads(body)
        path = self.path.split("?")[0]
        model = doc.get("model") or path.rsplit("/", 1)[1].split(":")[0]
        requests.append({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": doc})
        self.wish = wishes(model)
        if "fail" in self.wish:
            code, times = self.wish["fail"]
            seen[model] += 1
            if times is None or seen[model] <= times:
                return self.send_json(code, {"type": "error", "error": {"type": "overloaded_error", "message": "as asked", "code": code}})
        n = min(self.wish["words"], self.limit_of(doc))
        if path == "/v1/messages":
            self.messages(doc, model, n)
        elif path == "/v1/messages/count_tokens":
            self.send_json(200, {"input_tokens": 12})
        elif path == "/v1/chat/completions":
            self.chat(doc, model, n)
        elif path == "/v1/responses":
            self.response_api(doc, model, n)
        elif path == "/v1/embeddings":
            self.send_json(200, {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}], "model": model, "usage": {"prompt_tokens": 5, "total_tokens": 5}})
        elif ":generateContent" in path:
            self.send_json(200, self.gemini_chunk(model, WORD * n, n, True))
        elif ":streamGenerateContent" in path:
            self.gemini(model, n)
        else:
            self.send_json(404, {"error": {"message": "no such path " + path}})

    @staticmethod
    def limit_of(doc):
        config = doc.get("generationConfig") or {}
        for value in (doc.get("max_tokens"), doc.get("max_completion_tokens"), doc.get("max_output_tokens"), config.get("maxOutputTokens")):
            if value is not None:
                return value
        return 1 << 30

    @staticmethod
    def wanted_tool(doc):
        """What a scripted model asks of the agent next: the tool's name and input; None when it is done."""
        path = "/workspace/greeting.txt"
        steps = [("Read", {"file_path": path}), ("Edit", {"file_path": path, "old_string": "hello", "new_string": "hello, sandbox"})]
        blocks = [b for m in doc["messages"] if isinstance(m["content"], list) for b in m["content"]]
        done = sum(b.get("type") == "tool_result" for b in blocks)
        offered = {t.get("name") for t in doc.get("tools") or []}
        return steps[done] if done < len(steps) and steps[done][0] in offered else None

    def tool_use(self, message, name, given):
        self.begin_events()
        self.event({"type": "message_start", "message": message}, "message_start")
        block = {"type": "tool_use", "id": "toolu_" + name, "name": name, "input": {}}
        self.event({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start")
        self.event({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json.dumps(given)}}, "content_block_delta")
        self.event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        self.event({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 20}}, "message_delta")
        self.event({"type": "message_stop"}, "message_stop")
        self.end_events()

    def messages(self, doc, model, n):
        usage = {"input_tokens": 25, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 10, "output_tokens": 1, "service_tier": "standard"}
        message = {"id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        if self.wish.get("edit") and doc.get("stream") and (tool := self.wanted_tool(doc)):
            return self.tool_use(message, *tool)
        if not doc.get("stream"):
            return self.send_json(200, {**message, "content": [{"type": "text", "text": WORD * n}], "stop_reason": "end_turn", "usage": {**usage, "output_tokens": n}})
        self.begin_events()
        self.event({"type": "message_start", "message": message}, "message_start")
        self.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, "content_block_start")
        self.event({"type": "ping"}, "ping")
        for i in range(n):
            if self.wish.get("cut") and i == n // 2:
                return self.cut()
            self.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}, "content_block_delta")
        self.event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        self.event({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": n}}, "message_delta")
        self.event({"type": "message_stop"}, "message_stop")
        self.end_events()

    def chat(self, doc, model, n):
        usage = {"prompt_tokens": 30, "completion_tokens": n, "total_tokens": 30 + n, "prompt_tokens_details": {"cached_tokens": 10},
                 "completion_tokens_details": {"reasoning_tokens": min(2, n)}}
        base = {"id": "chatcmpl-fake", "created": 1, "model": model, "system_fingerprint": "fp"}
        if not doc.get("stream"):
            return self.send_json(200, {**base, "object": "chat.completion", "usage": usage, "choices": [
                {"index": 0, "finish_reason": "stop", "logprobs": None, "message": {"role": "assistant", "content": WORD * n, "refusal": None}}]})
        include = (doc.get("stream_options") or {}).get("include_usage")
        extra = {"usage": None} if include else {}
        self.begin_events()
        chunk = {**base, "object": "chat.completion.chunk", **extra}
        for i in range(n):
            if self.wish.get("cut") and i == n // 2:
                return self.cut()
            self.event({**chunk, "choices": [{"index": 0, "delta": {"content": WORD}, "finish_reason": None}]})
        self.event({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if include:
            self.event({**chunk, "choices": [], "usage": usage})
        self.event("[DONE]")
        self.end_events()

    def response_api(self, doc, model, n):
        usage = {"input_tokens": 40, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": n, "output_tokens_details": {"reasoning_tokens": min(3, n)}, "total_tokens": 40 + n}

        def response(status, text):
            return {"id": "resp_fake", "object": "response", "created_at": 1, "status": status, "model": model, "error": None, "incomplete_details": None, "instructions": None,
                    "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
                    "usage": usage if status == "completed" else None,
                    "output": [{"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]}] if text else []}
        if not doc.get("stream"):
            return self.send_json(200, response("completed", WORD * n))
        self.begin_events()
        self.event({"type": "response.created", "sequence_number": 0, "response": response("in_progress", "")}, "response.created")
        item = {"type": "message", "id": "m", "status": "in_progress", "role": "assistant", "content": []}
        self.event({"type": "response.output_item.added", "sequence_number": 0, "output_index": 0, "item": item}, "response.output_item.added")
        self.event({"type": "response.content_part.added", "sequence_number": 0, "item_id": "m", "output_index": 0, "content_index": 0,
                    "part": {"type": "output_text", "text": "", "annotations": []}}, "response.content_part.added")
        for i in range(n):
            if self.wish.get("cut") and i == n // 2:
                return self.cut()
            self.event({"type": "response.output_text.delta", "sequence_number": i + 1, "item_id": "m", "output_index": 0, "content_index": 0, "delta": WORD, "logprobs": []}, "response.output_text.delta")
        self.event({"type": "response.completed", "sequence_number": n + 1, "response": response("completed", WORD * n)}, "response.completed")
        self.end_events()

    @staticmethod
    def gemini_chunk(model, text, n, last):
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        return {"candidates": [candidate], "modelVersion": model, "responseId": "gem_fake",
                "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": n, "thoughtsTokenCount": 4, "totalTokenCount": 24 + n, "cachedContentTokenCount": 5}}

    def gemini(self, model, n):
        self.begin_events()
        for i in range(n):
            if self.wish.get("cut") and i == n // 2:
                return self.cut()
            self.event(self.gemini_chunk(model, WORD, i + 1, i + 1 == n))
        self.end_events()


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port-file", required=True)
    args = parser.parse_args()
    server = Server(("127.0.0.1", 0), Upstream)
    with open(args.port_file + ".new", "w", encoding="ascii") as f:
        f.write(str(server.server_port))
    import os
    os.rename(args.port_file + ".new", args.port_file)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
