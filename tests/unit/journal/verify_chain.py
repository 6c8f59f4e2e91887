"""Checks a session's chain without Caged: reads events as JSON lines, prints "ok N" or the first broken link.

The canonical text is specified in docs/journal.md. Written from that text, not from the C++ code.
"""
import hashlib
import json
import sys


def text(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def main():
    previous = "0" * 64
    count = 0
    for line in sys.stdin.buffer:
        event = json.loads(line)
        link = ["caged.event.1", previous, event["id"], event["session_id"], event["sequence"], event["sandbox_id"],
                event["type"], event["time_us"], event["duration_us"], event["data"]]
        computed = hashlib.sha256(text(link).encode("utf-8", "surrogatepass")).hexdigest()
        if event["sequence"] != count + 1 or computed != event["hash"]:
            print("broken at", event["sequence"])
            return
        previous = computed
        count += 1
    print("ok", count)


main()
