"""W1: frames."""

import struct
import time

from client import Gone, WebSocket, frame
from table import case

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def fresh(t):
    return WebSocket(t.server)


@case("W1", "frames that no client may send, each with its close code", on=("ws",))
def bad_frames(t):
    rows = {
        "unmasked": (frame(PING, mask=False), (1002,)), "reserved bit 1": (frame(PING, reserved=4), (1002,)),
        "reserved bits": (frame(PING, reserved=7), (1002,)), "opcode 3": (frame(PING, opcode=3), (1002,)),
        "opcode 11": (frame(b"", opcode=11), (1002,)), "long ping": (frame(b"x" * 126, opcode=9), (1002,)),
        "ping in pieces": (frame(b"x", opcode=9, fin=False), (1002,)), "continuation of nothing": (frame(PING, opcode=0), (1002,)),
        "text in a text": (frame(b"{", fin=False) + frame(PING), (1002,)), "binary": (frame(PING, opcode=2), (1003,)),
        "not UTF-8": (frame(b'{"a":"\xff\xfe"}'), (1007,)), "half a character": (frame(b'"\xc3'), (1007,)),
        "top bit of the length": (frame(b"", length=1 << 63), (1002, 1009)), "length of an exbibyte": (frame(b"", length=1 << 60), (1009,)),
        "above the cap": (frame(b"", length=(16 << 20) + 1), (1009,)), "close of one byte": (frame(b"x", opcode=8), (1002,)),
        "close with a reserved code": (frame(struct.pack(">H", 1005), opcode=8), (1002,)), "close with bad text": (frame(struct.pack(">H", 1000) + b"\xff", opcode=8), (1002, 1007)),
    }
    codes = {}
    for name, (data, wanted) in rows.items():
        c = fresh(t)
        c.send_bytes(data)
        codes[name] = c.closed_with()
        assert codes[name] in wanted, f"{name}: {codes[name]}, wanted {wanted}"
        c.close()
    return ", ".join(sorted({str(c) for c in codes.values()}))


@case("W1", "messages in many pieces, pings between them, more than the cap in pieces", on=("ws",))
def pieces(t):
    c = fresh(t)
    parts = [PING[i:i + 1] for i in range(len(PING))]
    for i, part in enumerate(parts):
        c.send_bytes(frame(part, opcode=1 if i == 0 else 0, fin=i == len(parts) - 1))
        c.send_bytes(frame(b"are you there", opcode=9))
    assert c.next()["result"] == {}
    c.close()
    c = fresh(t)
    before = t.server.memory_kib()
    try:
        c.send_bytes(frame(b'{"a":"', fin=False))
        for _ in range(40):
            c.send_bytes(frame(b"x" * (1 << 20), opcode=0, fin=False))
    except OSError:
        pass
    assert c.closed_with() in (1009, "dropped")
    assert t.server.memory_kib() - before < 64 << 10
    c.close()
    return "put together up to 16 MiB, then 1009"


@case("W1", "ping flood, a client that reads nothing, close in the middle, no handshake", on=("ws",))
def floods(t):
    before = t.server.memory_kib()
    c = fresh(t)
    try:
        c.send_bytes(frame(b"x" * 125, opcode=9) * 20000)
    except OSError:
        pass
    c.close()
    greedy = WebSocket(t.server, upgrade=False)
    greedy.socket.settimeout(2)
    sent = 0
    try:
        for _ in range(3000):
            greedy.send_bytes(frame(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}') * 10)
            sent += 10
    except OSError:
        pass
    grown = t.server.memory_kib() - before
    assert grown < 100 << 10, f"memory grew by {grown} KiB after {sent} requests"
    greedy.close()
    for cut in (b"\x81", b"\x81\xfe", b"\x81\xfe\x10\x00\x01", frame(PING)[:-3]):
        c = fresh(t)
        c.send_bytes(cut)
        c.close()
    c = fresh(t)
    c.send_bytes(frame(PING) + frame(struct.pack(">H", 1000), opcode=8) + frame(PING))
    try:
        while c.next(10) is not None:
            pass
    except Gone:
        pass
    c.close()
    for extra in ({"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": None}, {"Upgrade": "h2c"}, {"Sec-WebSocket-Key": "short"}):
        refused = WebSocket(t.server, headers=extra, upgrade=False)
        assert refused.status in (400, 404, 405, 426), f"{extra}: {refused.status}"
        refused.close()
    deflate = WebSocket(t.server, headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}, upgrade=False)
    assert deflate.status == 101 and b"deflate" not in deflate.head.lower(), "compression was agreed on"
    deflate.close()
    return f"not read from while it does not read ({sent} requests taken, {grown} KiB)"


_ = time
