"""python_clients.py GENERATION COMMAND WORKSPACE HTTP_URL WS_URL TOKEN: the official SDK over every transport it has.

Generation 1 or 2, whichever is on PYTHONPATH.
"""

import asyncio
import contextlib
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # its WebSocket transport

GENERATION, COMMAND, WORKSPACE, HTTP, WS, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": "Bearer " + TOKEN}
FILE = f"from-python-{GENERATION}.txt"
ARGUMENTS = ["--workspace", WORKSPACE]


def check(condition, what):
    if not condition:
        sys.exit("FAILED: " + what)


async def talk(name, client):
    names = [t.name for t in (await client.list_tools()).tools]
    check("file_read" in names and "terminal_exec" in names, f"{name}: {names}")
    await client.call_tool("file_write", {"path": FILE, "content": name})
    read = await client.call_tool("file_read", {"path": FILE})
    check(name in read.content[0].text, f"{name}: read something else: {read}")
    failed = await client.call_tool("file_read", {"path": "../outside"})
    check(getattr(failed, "isError", None) or getattr(failed, "is_error", None), f"{name}: no error: {failed}")
    heard = []

    async def progress(value, total, message):
        heard.append(message)

    ran = await client.call_tool("terminal_exec", {"command": "echo one; sleep 0.7; echo two"}, progress_callback=progress)
    check("two" in ran.content[0].text, f"{name}: {ran}")
    check(heard, f"{name}: no progress was heard")
    try:
        await client.call_tool("no_such_tool", {})
        check(False, name + ": an unknown tool is not refused")
    except Exception as e:
        check("no_such_tool" in str(e), f"{name}: {e!r}")
    print("ok python " + name)


async def generation_1():
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client
    from mcp.client.websocket import websocket_client

    for name, transport in (("v1 stdio", stdio_client(StdioServerParameters(command=COMMAND, args=ARGUMENTS))),
                            ("v1 http", streamablehttp_client(HTTP, headers=HEADERS)), ("v1 ws", websocket_client(WS))):
        async with transport as streams, ClientSession(streams[0], streams[1]) as client:
            await client.initialize()
            await talk(name, client)


async def generation_2():
    import httpx2
    from mcp import StdioServerParameters
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client

    for mode in ("legacy", "auto", "2026-07-28"):
        async with Client(StdioServerParameters(command=COMMAND, args=ARGUMENTS), mode=mode) as client:
            await talk("v2 stdio " + mode, client)
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=HEADERS, timeout=30))
            client = await stack.enter_async_context(Client(streamable_http_client(HTTP, http_client=http), mode=mode))
            await talk("v2 http " + mode, client)


asyncio.run(generation_1() if GENERATION == "1" else generation_2())
