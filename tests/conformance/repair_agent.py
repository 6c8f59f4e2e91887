"""repair_agent.py COMMAND WORKSPACE TEST_COMMAND: repairs the repository in WORKSPACE with the server's tools alone.

What a model would do, as a script: run the tests, see which module fails, look at what was changed there last, take the
change back where it stands, run the tests again, commit. It knows neither the repository nor the fault.
"""

import asyncio
import re
import sys

from mcp import StdioServerParameters
from mcp.client import Client

COMMAND, WORKSPACE, TESTS = sys.argv[1:]


def check(condition, what):
    if not condition:
        sys.exit("FAILED: " + str(what))


def suspects(patch):
    """(file, what it was, what it became) of each place that a commit changed."""
    found, path, old, new = [], "", [], []
    for line in patch.splitlines() + ["@@"]:
        if line.startswith("+++ b/"):
            path = line[6:]
        elif line.startswith("---"):
            pass
        elif line.startswith("-"):
            old.append(line[1:])
        elif line.startswith("+"):
            new.append(line[1:])
        elif old and new:
            found.append((path, "\n".join(old), "\n".join(new)))
            old, new = [], []
    return found


async def main():
    async with Client(StdioServerParameters(command=COMMAND, args=["--workspace", WORKSPACE])) as agent:

        async def use(tool, **arguments):
            answer = await agent.call_tool(tool, arguments)
            return answer.is_error, answer.content[0].text, answer.structured_content

        failed, text, result = await use("terminal_exec", command=TESTS, timeout=60)
        check(result["exit_code"] != 0, "the tests pass before anything was repaired: " + text)
        blamed = set(re.findall(r'File "[^"]*?([\w.-]+\.py)", line \d+', text))
        check(blamed, "no file is blamed:\n" + text)
        _, _, log = await use("git_log", count=20)
        for commit in log["commits"]:
            _, patch, _ = await use("git_show", ref=commit["hash"])
            for path, was, became in suspects(patch):
                _, _, places = await use("file_search", pattern=path, content=became.splitlines()[0], literal=True)
                if path.split("/")[-1] not in blamed or not places["matches"]:
                    continue
                failed, diff, _ = await use("file_edit", path=path, old_text=became, new_text=was, dry_run=True)
                check(not failed and "-" + became.splitlines()[0] in diff, diff)
                failed, diff, _ = await use("file_edit", path=path, old_text=became, new_text=was)
                check(not failed, diff)
                _, text, result = await use("terminal_exec", command=TESTS, timeout=60)
                if result["exit_code"] == 0:
                    _, status, _ = await use("git_status")
                    check(path in status, status)
                    failed, text, _ = await use("git_commit", message="- take back what broke the tests", paths=[path])
                    check(not failed, text)
                    _, _, after = await use("git_status")
                    check(after["clean"], after)
                    print("ok repaired " + path)
                    return
                await use("file_edit", path=path, old_text=was, new_text=became)
        check(False, "no change of the last commits is the cause")


asyncio.run(main())
