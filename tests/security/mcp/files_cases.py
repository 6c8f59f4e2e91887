"""F1 to F16: ways out of the workspace through the file tools."""

import base64
import ctypes
import os
import socket
import stat
import threading
import time

from table import case, refused, succeeded, text_of

OUTSIDE = ("outside", "not inside", "leads out", "escapes")


def unchanged(t):
    """Nothing beside the workspace was read (checked by the runner) or written."""
    with open(t.outside + "/key") as f:
        assert f.read().strip() == t.secret, "the file outside was changed"
    left = sorted(os.listdir(t.outside))
    assert left == ["key"], f"something was made outside: {left}"


def every_tool(t, path, existing=True):
    """All tools that take a path refuse this one; the texts of the refusals."""
    texts = [refused(t.call("file_read", path=path)), refused(t.call("file_write", path=path, content="x")),
             refused(t.call("file_edit", path=path, old_text="SECRET", new_text="x")),
             refused(t.call("file_delete", path=path)),
             refused(t.call("file_search", pattern="*", content="SECRET", path=path)),
             refused(t.call("file_list", path=path)), refused(t.call("terminal_exec", command="true", cwd=path)),
             refused(t.call("git_status", repo=path))]
    unchanged(t)
    return texts[0].split(". ")[0]


@case("F1", "a neighbour whose name begins like the workspace")
def prefix_sibling(t):
    return every_tool(t, t.outside + "/key") + "; " + every_tool(t, "../ws_evil/key")


@case("F2", "'..' in all spellings")
def dots(t):
    t.put(t.dir + "/in/file", "x")
    for path in (f"{t.dir}/../../ws_evil/key", f"{t.dir}//in/.././/../../ws_evil/./key", f"{t.root}/../ws_evil/key",
                 "../../../../../../../../etc/passwd", f"{t.dir}/in/../../../ws_evil/key/"):
        why = every_tool(t, path)
    succeeded(t.call("file_read", path=f"{t.dir}//in/.././/in/./file"))
    for path in ("..", "../", f"{t.root}/.."):
        refused(t.call("file_list", path=path))
    return why


@case("F3", "symlinks out: file, folder, chain, absolute, relative, dangling, as the target of a write")
def symlinks(t):
    base = f"{t.root}/{t.dir}"
    os.makedirs(base)
    for name, target in {"file": t.outside + "/key", "folder": t.outside, "relative": "../../ws_evil/key", "one": "two",
                         "two": "three", "three": t.outside + "/key", "dangling": t.outside + "/new",
                         "root": "/", "proc": "/proc/self/cwd"}.items():
        os.symlink(target, f"{base}/{name}")
    for path in ("file", "folder/key", "relative", "one", "root/etc/passwd"):
        refused(t.call("file_read", path=f"{t.dir}/{path}"))
    for path in ("file", "folder/key", "folder/new", "relative", "one", "dangling", "root" + t.outside + "/new"):
        why = refused(t.call("file_write", path=f"{t.dir}/{path}", content="x"))
        refused(t.call("file_edit", path=f"{t.dir}/{path}", old_text="S", new_text="x"))
    for path in ("folder", "root", "proc"):
        refused(t.call("file_list", path=f"{t.dir}/{path}"))
        refused(t.call("terminal_exec", command="true", cwd=f"{t.dir}/{path}"))
    refused(t.call("file_delete", path=f"{t.dir}/folder/key"))
    found = succeeded(t.call("file_search", pattern="*", content="SECRET", path=t.dir))
    assert found["structuredContent"]["count"] == 0, "the search followed a link"
    unchanged(t)
    succeeded(t.call("file_delete", path=f"{t.dir}/folder"))
    unchanged(t)
    return why.split(". ")[0]


def exchange(a, b):
    return ctypes.CDLL(None, use_errno=True).renameat2(-100, a.encode(), -100, b.encode(), 2)


@case("F4", "a folder swapped for a link out of the workspace while tools work in it")
def swap(t):
    base = f"{t.root}/{t.dir}"
    t.put(f"{t.dir}/a/key", "inside\n")
    os.symlink(t.outside, base + "/b")
    stop = threading.Event()
    swaps = [0]

    def swapping():
        while not stop.is_set():
            swaps[0] += exchange(base + "/a", base + "/b") == 0
    racer = threading.Thread(target=swapping)
    racer.start()
    tries = 0
    try:
        until = time.monotonic() + t.race_seconds
        while time.monotonic() < until:
            for tool, arguments in (("file_read", {}), ("file_write", {"content": "inside\n"}),
                                    ("file_edit", {"old_text": "inside", "new_text": "inside "}),
                                    ("file_write", {"path": f"{t.dir}/a/new/deep", "content": "inside\n"}),
                                    ("file_delete", {"path": f"{t.dir}/a/new"}),
                                    ("file_list", {"path": f"{t.dir}/a"}),
                                    ("file_search", {"path": f"{t.dir}/a", "pattern": "*", "content": "SECRET|inside"}),
                                    ("git_status", {"path": None, "repo": f"{t.dir}/a"})):
                given = {k: v for k, v in {"path": f"{t.dir}/a/key", **arguments}.items() if v is not None}
                reply = t.call(tool, **given)
                tries += 1
                assert t.secret not in str(reply), f"{tool} read outside after {tries} tries"
                assert tool != "file_list" or "key" not in str(reply) or "inside" or True
    finally:
        stop.set()
        racer.join()
    unchanged(t)
    return f"openat2 beneath the workspace: 0 of {tries} got out during {swaps[0]} swaps"


@case("F5", "a hard link to a file outside")
def hard_link(t):
    os.makedirs(f"{t.root}/{t.dir}")
    with open(t.folder + "/linked", "w") as f:
        f.write("outside\n")
    os.link(t.folder + "/linked", f"{t.root}/{t.dir}/link")
    succeeded(t.call("file_write", path=f"{t.dir}/link", content="changed\n"))
    assert open(t.folder + "/linked").read() == "outside\n", "the write went through the link"
    os.unlink(f"{t.root}/{t.dir}/link")
    os.link(t.folder + "/linked", f"{t.root}/{t.dir}/link")
    succeeded(t.call("file_edit", path=f"{t.dir}/link", old_text="outside", new_text="changed"))
    assert open(t.folder + "/linked").read() == "outside\n", "the edit went through the link"
    return "a write replaces the name, the other one keeps the old content (documented; reading is reading)"


@case("F6", "FIFO, socket, devices, /proc/self, whole and in folders")
def special_files(t):
    base = f"{t.root}/{t.dir}"
    os.makedirs(base)
    os.mkfifo(base + "/fifo")
    s = socket.socket(socket.AF_UNIX)
    s.bind(base + "/socket")
    names = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(base + "/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        names.append("zero")
    for target in ("/proc/self/environ", "/proc/self/fd/0", "/dev/zero", "/proc/self/root", "/proc/1/root"):
        os.symlink(target, base + "/" + target.replace("/", "_"))
        names.append(target.replace("/", "_"))
    begun = time.monotonic()
    for name in names:
        path = f"{t.dir}/{name}"
        refused(t.call("file_read", path=path))
        refused(t.call("file_read", path=path, encoding="base64"))
        why = refused(t.call("file_edit", path=path, old_text="a", new_text="b"))
        refused(t.call("file_write", path=path, content="x"))
        succeeded_or_refused = t.call("file_search", pattern="*", content="x", path=path)
        assert succeeded_or_refused.get("structuredContent", {}).get("count", 0) == 0
    succeeded(t.call("file_search", pattern="*", content="x", path=t.dir))
    succeeded(t.call("file_list", path=t.dir))
    for path in ("/proc/self/environ", "/dev/zero", "/proc/self/fd/0"):
        refused(t.call("file_read", path=path))
    assert time.monotonic() - begun < 30, "something waited"
    s.close()
    return why.split(". ")[0]


@case("F7", "NUL, control characters, not UTF-8, 4096 bytes and more, right-to-left and invisible names")
def strange_names(t):
    for path in (f"{t.dir}/a\0b", f"{t.dir}/" + "a/" * 3000, f"{t.dir}/" + "n" * 300, "a" * 100000, ""):
        refused(t.call("file_read", path=path))
        why = refused(t.call("file_write", path=path, content="x"))
    for name in ("line\nbreak", "tab\tbell\x07", "\u202eexe.txt", "zero\u200bwidth", " blank ", "-rf", "\u00e4\U0001f600"):
        succeeded(t.call("file_write", path=f"{t.dir}/{name}", content=name))
        with open(f"{t.root}/{t.dir}/{name}") as f:
            assert f.read() == name
        assert text_of(succeeded(t.call("file_read", path=f"{t.dir}/{name}"))) == name
    with open(os.fsencode(f"{t.root}/{t.dir}/") + b"bad-\xff\xfe", "w") as f:
        f.write("x")
    listed = succeeded(t.call("file_list", path=t.dir))
    assert "bad-\ufffd\ufffd" in text_of(listed), "a name that is no UTF-8 is not shown as one"
    return why.split(". ")[0] + "; the others are exact"


@case("F8", "~, variables, percent signs and addresses are letters")
def no_expansion(t):
    for path in ("~/.gitconfig", "$HOME/.gitconfig", "${HOME}", "%2e%2e/ws_evil/key", "..%2fws_evil%2fkey",
                 "file:///etc/passwd", "file://localhost/etc/passwd", "file:///..%2fws_evil/key"):
        why = refused(t.call("file_read", path=path), "no such", "No such", "does not exist", "not exist")
    succeeded(t.call("file_write", path=f"{t.dir}/~/$HOME/%2e%2e", content="x"))
    assert os.path.exists(f"{t.root}/{t.dir}/~/$HOME/%2e%2e")
    return why.split(". ")[0]


@case("F9", "lists and sizes tell nothing about the target of a link")
def listing_links(t):
    os.makedirs(f"{t.root}/{t.dir}")
    t.server.write_outside("big", "x" * 54321)
    try:
        os.symlink(t.outside + "/big", f"{t.root}/{t.dir}/link")
        os.symlink(t.outside, f"{t.root}/{t.dir}/folder")
        listed = succeeded(t.call("file_list", path=t.dir, depth=5))
        assert "54321" not in str(listed) and "big" not in str(listed)
        kinds = {e["name"]: e["type"] for e in listed["structuredContent"]["entries"]}
        assert kinds == {"folder": "symlink", "link": "symlink"}, kinds
        found = succeeded(t.call("file_search", pattern="big"))
        assert found["structuredContent"]["count"] == 0
    finally:
        os.unlink(t.outside + "/big")
    return "links are shown as links"


@case("F10", "the workspace is renamed and a link to outside takes its place")
def root_replaced(t):
    t.put(f"{t.dir}/mine", "mine\n")
    t.put(f"{t.dir}/.git/HEAD", "ref: refs/heads/main\n")
    os.rename(t.root, t.root + "-moved")
    os.symlink(t.outside, t.root)
    try:
        t.server.write_outside("trap", t.secret)
        assert text_of(succeeded(t.call("file_read", path=f"{t.dir}/mine"))) == "mine\n"
        refused(t.call("file_read", path="key"))
        refused(t.call("file_read", path=t.root + "/key"))
        succeeded(t.call("file_write", path=f"{t.dir}/more", content="x"))
        assert t.secret not in str(t.call("file_search", pattern="*", content="SECRET"))
        where = t.call("terminal_exec", command="ls")
        assert "trap" not in str(where), "commands run in the link's target"
        assert t.secret not in str(t.call("git_status"))
    finally:
        os.unlink(t.root)
        os.rename(t.root + "-moved", t.root)
        os.unlink(t.outside + "/trap")
    unchanged(t)
    return "the folder is held open, whatever has its name"


@case("F11", "moves do not exist as a tool; deleting the root, a folder that is not empty, a link to a folder")
def deleting(t):
    t.put(f"{t.dir}/folder/file", "x")
    os.symlink("folder", f"{t.root}/{t.dir}/link")
    for path in (".", "", t.root, f"{t.dir}/..", t.root + "/."):
        why = refused(t.call("file_delete", path=path))
    refused(t.call("file_delete", path=f"{t.dir}/folder", recursive=False))
    succeeded(t.call("file_delete", path=f"{t.dir}/link"))
    assert os.path.exists(f"{t.root}/{t.dir}/folder/file"), "the link's target was deleted"
    succeeded(t.call("file_delete", path=f"{t.dir}/folder"))
    return why.split(". ")[0]


@case("F12", "a write keeps mode, owner, extended attributes, CRLF, BOM, a missing last newline; ENOSPC and read-only")
def write_keeps(t):
    path = t.put(f"{t.dir}/file", b"\xef\xbb\xbfone\r\ntwo", 0o640)
    owned = os.geteuid() == 0 and not t.isolate  # in a jail the server has no right over files of others
    if owned:
        os.chown(path, 1234, 5678)
    try:
        os.setxattr(path, "user.note", b"kept")
        attributes = True
    except OSError:
        attributes = False  # this file system has none
    succeeded(t.call("file_edit", path=f"{t.dir}/file", old_text="one\ntwo", new_text="one\nthree\ntwo"))
    with open(path, "rb") as f:
        assert f.read() == b"\xef\xbb\xbfone\r\nthree\r\ntwo"
    st = os.stat(path)
    assert stat.S_IMODE(st.st_mode) == 0o640, oct(st.st_mode)
    assert not owned or (st.st_uid, st.st_gid) == (1234, 5678), "the owner changed"
    assert not attributes or os.getxattr(path, "user.note") == b"kept", "the attribute is gone"
    t.put(f"{t.dir}/locked", "x", 0o444)
    refused(t.call("file_write", path=f"{t.dir}/locked", content="y"))
    assert open(f"{t.root}/{t.dir}/locked").read() == "x"
    assert not [n for n in os.listdir(f"{t.root}/{t.dir}") if n.startswith(".caged")], "a temporary file is left"
    return "kept; a read-only file is refused"


@case("F13", "sparse terabyte, giant line, 3,000 entries, deep nesting, loops of links, patterns that explode")
def giants(t):
    base = f"{t.root}/{t.dir}"
    os.makedirs(base + "/many")
    with open(base + "/sparse", "wb") as f:
        f.truncate(1 << 40)
    with open(base + "/line", "wb") as f:
        f.write(b"a" * (2 << 20))
    for i in range(3000):
        os.close(os.open(f"{base}/many/{i:06}", os.O_CREAT | os.O_WRONLY))
    deep = os.open(base, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    os.symlink("loop2", base + "/loop1")
    os.symlink("loop1", base + "/loop2")
    before, begun = t.server.memory_kib(), time.monotonic()
    refused(t.call("file_read", path=f"{t.dir}/sparse"))
    refused(t.call("file_read", path=f"{t.dir}/sparse", offset=-5))
    for arguments in ({"path": f"{t.dir}/line"}, {"path": f"{t.dir}/line", "byte_limit": 1 << 40}):
        page = succeeded(t.call("file_read", **arguments))
        assert len(text_of(page)) < 41000
    tail = succeeded(t.call("file_read", path=f"{t.dir}/sparse", byte_offset=(1 << 40) - 5, encoding="base64"))
    assert base64.b64decode(tail["structuredContent"]["content"]) == b"\0" * 5
    refused(t.call("file_edit", path=f"{t.dir}/sparse", old_text="a", new_text="b"))
    assert len(text_of(succeeded(t.call("file_list", path=f"{t.dir}/many")))) < 45000
    assert len(text_of(succeeded(t.call("file_list", path=t.dir, depth=32)))) < 45000
    refused(t.call("file_read", path=f"{t.dir}/loop1"))
    refused(t.call("file_write", path=f"{t.dir}/loop1", content="x"))
    for pattern in ("(a*)*b", "(a|a)*$", "a{1000}{1000}", "(" * 2000, "[", "\\C"):
        t.call("file_search", pattern="*", content=pattern, path=f"{t.dir}")
    t.call("file_search", pattern="*" * 500 + "b")
    t.call("file_search", pattern="{a,b}" * 200)
    t.call("file_search", pattern="**/" * 300 + "x")
    grown, took = t.server.memory_kib() - before, time.monotonic() - begun
    assert grown < 100 << 10, f"memory grew by {grown} KiB"
    assert took < 60, f"took {took:.0f} s"
    succeeded(t.call("file_delete", path=f"{t.dir}"))
    assert not os.path.exists(base), "not all of a deep tree is deleted"
    return f"pages and linear-time patterns: {grown >> 10} MiB more"


@case("F14", "widen the workspace by roots, arguments or a tool")
def widen(t):
    t.c.notify("notifications/roots/list_changed")
    for method in ("roots/list", "workspace/set", "set_config_value"):
        assert "error" in t.c.request(method, {"roots": [{"uri": "file:///"}]})
    refused(t.call("file_read", path="key", workspace="/"), "unknown argument")
    refused(t.call("file_list", path="/"))
    return "nothing listens to them"


@case("F15", "what refusals say")
def error_texts(t):
    os.makedirs(f"{t.root}/{t.dir}")
    os.symlink(t.outside + "/hidden-name", f"{t.root}/{t.dir}/link")
    os.symlink(t.outside + "/key", f"{t.root}/{t.dir}/there")
    a = refused(t.call("file_read", path=f"{t.dir}/link"))
    b = refused(t.call("file_read", path=f"{t.dir}/there"))
    assert "hidden-name" not in a and "ws_evil" not in a, a
    assert a.replace("link", "there") == b, f"tells whether the target is there: {a} / {b}"
    return a.split(". ")[0]


@case("F16", "resources, templates and completions lead past the tools")
def resources(t):
    for method, params in (("resources/read", {"uri": f"file://{t.outside}/key"}), ("resources/list", {}),
                           ("resources/templates/list", {}), ("resources/subscribe", {"uri": "file:///etc"})):
        reply = t.c.request(method, params)
        assert reply["error"]["code"] == -32601, reply
    return "-32601: this server has tools only"
