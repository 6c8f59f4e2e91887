"""G1 to G7: what a repository and the arguments of the git tools could be used for."""

import os
import subprocess

from table import case, refused, succeeded, text_of

READERS = ("git_status", "git_diff", "git_log", "git_show", "git_branch")


def git(t, command, folder=""):
    subprocess.run(["sh", "-c", "git init -q . 2>/dev/null; " + command], cwd=f"{t.root}/{t.dir}/{folder}", check=True,
                   capture_output=True, env={"PATH": os.environ["PATH"], "HOME": t.folder + "/home"})


def repository(t):
    t.put(f"{t.dir}/a.txt", "one\n")
    # In a jail the user's own settings are out of reach: the repository says who commits.
    git(t, "git config user.name Ann && git config user.email ann@example.org && git add -A && git commit -qm first")


@case("G1", "values that git would take for options")
def options(t):
    repository(t)
    target = f"{t.root}/{t.dir}/written"
    for value in (f"--output={target}", f"-o{target}", "--exec=touch ran", "--upload-pack=touch", "-c", "--ext-diff", "--no-index", "-"):
        for tool, arguments in (("git_diff", {"ref": value}), ("git_log", {"ref": value}), ("git_show", {"ref": value}),
                                ("git_branch", {"create": value}), ("git_branch", {"create": "x", "ref": value})):
            why = refused(t.call(tool, repo=t.dir, **arguments))
        for tool in ("git_diff", "git_log", "git_show"):
            t.call(tool, repo=t.dir, path=value)
        t.call("git_commit", repo=t.dir, message="m", paths=[value])
        assert not os.path.exists(target), value
    t.put(f"{t.dir}/a.txt", "two\n")
    succeeded(t.call("git_commit", repo=t.dir, message="--amend -a is only a message"))
    assert "--amend -a is only" in text_of(t.call("git_log", repo=t.dir))
    assert len(succeeded(t.call("git_log", repo=t.dir))["structuredContent"]["commits"]) == 2, "the first was amended"
    return why.split(". ")[0]


@case("G2", "repositories whose parts lie elsewhere: .git file, link, worktree, alternates, commondir, above the root")
def elsewhere(t):
    os.makedirs(f"{t.root}/{t.dir}/tree")
    evil = t.folder + "/evil-" + t.dir
    os.makedirs(evil)
    subprocess.run(["sh", "-c", f"git init -q . && echo {t.secret} > s && git add s && git commit -qm '{t.secret}'"], cwd=evil,
                   check=True, capture_output=True, env={"PATH": os.environ["PATH"], "HOME": t.folder + "/home"})
    work = f"{t.root}/{t.dir}/tree"
    whys = set()

    def all_refuse():
        for tool in READERS:
            reply = t.call(tool, repo=f"{t.dir}/tree")
            assert t.secret not in str(reply)
            whys.add(refused(reply).split(". ")[0][-60:])
        refused(t.call("git_commit", repo=f"{t.dir}/tree", message="x"))

    t.put(f"{t.dir}/tree/.git", f"gitdir: {evil}/.git\n")
    all_refuse()
    t.put(f"{t.dir}/tree/.git", f"gitdir: ../../../evil-{t.dir}/.git\n")
    all_refuse()
    os.unlink(work + "/.git")
    os.symlink(evil + "/.git", work + "/.git")
    all_refuse()
    os.unlink(work + "/.git")
    for part in ("objects", "refs", "HEAD"):
        t.put(f"{t.dir}/tree/file", "x")
        git(t, "true", "tree")
        subprocess.run(["rm", "-rf", f"{work}/.git/{part}"], check=True)
        os.symlink(f"{evil}/.git/{part}", f"{work}/.git/{part}")
        all_refuse()
        subprocess.run(["rm", "-rf", work + "/.git"], check=True)
    git(t, "true", "tree")
    t.put(f"{t.dir}/tree/.git/objects/info/alternates", evil + "/.git/objects\n")
    all_refuse()
    os.unlink(work + "/.git/objects/info/alternates")
    t.put(f"{t.dir}/tree/.git/commondir", evil + "/.git\n")
    all_refuse()
    subprocess.run(["rm", "-rf", work + "/.git"], check=True)
    # A bare repository in a folder, and one above the workspace.
    subprocess.run(["git", "clone", "-q", "--bare", evil, work + "/bare"], check=True, capture_output=True)
    refused(t.call("git_log", repo=f"{t.dir}/tree/bare"))
    subprocess.run(["git", "init", "-q", t.folder], check=True, capture_output=True)
    try:
        refused(t.call("git_status", repo=f"{t.dir}/tree"), "no git repository")
    finally:
        subprocess.run(["rm", "-rf", t.folder + "/.git", work], check=True)
    for repo in ("..", t.outside, evil, f"../evil-{t.dir}"):
        refused(t.call("git_log", repo=repo))
    return "; ".join(sorted(whys))[:120]


@case("G3", "add what lies outside, or git's own folder")
def add_outside(t):
    repository(t)
    os.symlink(t.outside, f"{t.root}/{t.dir}/link")
    for path in ("../../ws_evil/key", t.outside + "/key", "link/key", ".git/config", "../.git", ":(top)../x", ":/"):
        why = refused(t.call("git_commit", repo=t.dir, message="m", paths=[path]))
    succeeded(t.call("git_commit", repo=t.dir, message="the link itself"))
    shown = text_of(succeeded(t.call("git_show", repo=t.dir)))
    assert t.secret not in shown and ".git/config" not in shown
    return why.split("\n")[0][:100]


@case("G4", "configuration of the repository that runs programs, on reads and on commits")
def configuration(t):
    repository(t)
    ran = f"{t.root}/{t.dir}/ran"
    evil = f"touch {ran};cat"
    keys = ["core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "core.gitProxy", "diff.external",
            "pager.log", "pager.diff", "pager.status", "pager.show", "pager.branch", "diff.e.textconv", "diff.e.command", "filter.e.clean",
            "filter.e.smudge", "filter.e.process", "merge.e.driver", "credential.helper", "gpg.program", "gpg.ssh.program",
            "sequence.editor", "interactive.diffFilter", "alias.log", "trailer.x.command", "uploadpack.packObjectsHook",
            "core.alternateRefsCommand", "tar.x.command", "browser.x.cmd", "man.x.cmd", "difftool.x.cmd", "mergetool.x.cmd",
            "submodule.x.update", "remote.origin.vcs", "url.ext::sh -c touch.insteadOf", "core.hooksPath", "init.templateDir"]
    t.put(f"{t.dir}/.gitattributes", "* filter=e diff=e merge=e\n")
    for index, key in enumerate(keys):
        value = "hooks" if key == "core.hooksPath" else ("!" + evil if key in ("alias.log", "credential.helper", "submodule.x.update") else evil)
        if index % 2:
            t.put(f"{t.dir}/.git/config.more", "")
            git(t, f"git config --file .git/config.more '{key}' '{value}' && git config include.path config.more")
        else:
            git(t, f"git config '{key}' '{value}'")
        t.put(f"{t.dir}/a.txt", f"{index}\n")
        for tool in (READERS[index % 5], ("git_diff", "git_status")[index % 2]):
            t.call(tool, repo=t.dir)
            assert not os.path.exists(ran), f"{key} ran on {tool}"
        if index % 12 == 0:
            t.call("git_commit", repo=t.dir, message=f"{index}")
            assert not os.path.exists(ran), f"{key} ran on a commit"
        subprocess.run(["git", "config", "--unset-all", key], cwd=f"{t.root}/{t.dir}", capture_output=True)
    return f"overridden or refused: {len(keys)} keys"


@case("G5", "hooks")
def hooks(t):
    repository(t)
    ran = f"{t.root}/{t.dir}/ran"
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit", "reference-transaction", "post-index-change",
                 "fsmonitor-watchman", "pre-auto-gc", "post-rewrite", "post-checkout"):
        t.put(f"{t.dir}/.git/hooks/{name}", f"#!/bin/sh\ntouch {ran}\n", 0o755)
    t.put(f"{t.dir}/b", "x")
    succeeded(t.call("git_commit", repo=t.dir, message="second"))
    succeeded(t.call("git_branch", repo=t.dir, create="other"))
    for tool in READERS:
        succeeded(t.call(tool, repo=t.dir))
    assert not os.path.exists(ran)
    return "core.hooksPath=/dev/null, --no-verify"


@case("G6", "submodules and links that a checkout made")
def submodules(t):
    repository(t)
    ran = f"{t.root}/{t.dir}/ran"
    t.put(f"{t.dir}/.gitmodules", '[submodule "x"]\n\tpath = ../../x\n\turl = ext::sh -c "touch ' + ran + '"\n\tupdate = !touch ran\n')
    os.makedirs(f"{t.root}/{t.dir}/sub/.git/hooks")
    t.put(f"{t.dir}/sub/.git/HEAD", "ref: refs/heads/main\n")
    t.put(f"{t.dir}/sub/.git/config", f"[core]\n\tfsmonitor = touch {ran}\n\trepositoryformatversion = 0\n")
    for part in ("objects", "refs"):
        os.makedirs(f"{t.root}/{t.dir}/sub/.git/{part}")
    for tool in READERS:
        t.call(tool, repo=t.dir)
    t.call("git_commit", repo=t.dir, message="with submodules")
    for tool in READERS:
        t.call(tool, repo=t.dir)
        t.call(tool, repo=f"{t.dir}/sub")
    assert not os.path.exists(ran)
    os.symlink(t.outside, f"{t.root}/{t.dir}/made")
    refused(t.call("file_write", path=f"{t.dir}/made/new", content="x"))
    return "submodules are not entered; links lead nowhere"


@case("G7", "huge and binary differences, names with control characters, keys in addresses")
def outputs(t):
    repository(t)
    t.put(f"{t.dir}/big", "".join(f"line {i}\n" for i in range(400000)))
    t.put(f"{t.dir}/binary", os.urandom(100000))
    t.put(f"{t.dir}/na\x1b[31mme", "x")
    git(t, "git remote add origin https://user:" + t.secret + "@example.org/x; git config user.name \"$(printf 'A\\033[31mB')\"")
    succeeded(t.call("git_commit", repo=t.dir, message="\x1b[31mred\x07"))
    for tool in READERS:
        reply = t.call(tool, repo=t.dir)
        assert len(text_of(reply)) < 90000, f"{tool}: {len(text_of(reply))} characters"
        assert "\x1b" not in text_of(reply), f"{tool} shows escapes"
        assert t.secret not in str(reply), tool
    return "bounded, without control characters"
