local function connect(t, data, args, context) return t.session({ args = args, session = context }).gate("network.connect", data) end

test("without a mode, a name or anything the answer is no", function(t)
  t.kind(connect(t, {}), "deny")
  t.kind(connect(t, { host = "", address = "", port = 1, mode = "full" }), "allow")
  t.kind(connect(t, { host = "x", mode = "sideways" }), "deny")
  t.rule(connect(t, { host = "x.example", port = 443, mode = "none" }), "mode_none")
  t.rule(connect(t, { port = 443, mode = "allowlist" }), "unnamed")
end)

test("inner addresses are refused in every mode and spelling", function(t)
  for _, address in ipairs {
    "127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "::ffff:a00:1",
    "0.0.0.0", "100.64.0.1", "224.0.0.1", "::", "64:ff9b::7f00:1", "[::1]",
  } do
    t.rule(connect(t, { host = "public.example", address = address, port = 443, mode = "full" }), "inner_address")
    t.rule(connect(t, { host = address, port = 443, mode = "allowlist", allowed_hosts = { "**" } }), "inner_address")
  end
  t.rule(connect(t, { host = "metadata.google.internal", port = 80, mode = "full" }), "inner_address")
  t.kind(connect(t, { host = "db", address = "10.0.0.5", port = 5432, mode = "full" }, { allow_inner = { "10.0.0.5:5432" } }), "allow")
  t.kind(connect(t, { host = "db", address = "10.0.0.5", port = 22, mode = "full" }, { allow_inner = { "10.0.0.5:5432" } }), "deny")
end)

test("allow-lists", function(t)
  local list = { "api.one.example", "*.two.example", "**.three.example", "four.example:8443", "93.184.216.0/24" }
  local function ask(host, port, address) return connect(t, { host = host, address = address or "93.184.215.14", port = port or 443, mode = "allowlist", allowed_hosts = list }).kind end
  t.equal(ask("api.one.example"), "allow")
  t.equal(ask("API.One.Example."), "allow")
  t.equal(ask("one.example"), "deny")
  t.equal(ask("evil-api.one.example"), "deny")
  t.equal(ask("a.two.example"), "allow")
  t.equal(ask("a.b.two.example"), "deny")
  t.equal(ask("two.example"), "deny")
  t.equal(ask("a.b.three.example"), "allow")
  t.equal(ask("evilthree.example"), "deny")
  t.equal(ask("four.example", 8443), "allow")
  t.equal(ask("four.example", 443), "deny")
  t.equal(ask("", 443, "93.184.216.34"), "allow")
  t.equal(ask("93.184.217.34"), "deny")
  t.equal(ask("llm.caged.internal"), "allow")
  local v = connect(t, { host = "x.example", port = 443, mode = "allowlist", allowed_hosts = list })
  t.equal(v.rule, "not_allowed")
  t.ok(string.find(v.advice, "x.example", 1, true))
end)

test("the session's own settings count when the event has none", function(t)
  t.kind(connect(t, { host = "ok.example", port = 443 }, nil, { network_mode = "allowlist", allowed_hosts = { "ok.example" } }), "allow")
  t.kind(connect(t, { host = "no.example", port = 443 }, nil, { network_mode = "allowlist", allowed_hosts = { "ok.example" } }), "deny")
end)

test("deny lists and ports win over an open network", function(t)
  t.rule(connect(t, { host = "bad.example", port = 443, mode = "full" }, { deny = { "**.example" } }), "denied_host")
  t.rule(connect(t, { host = "mail.example", port = 25, mode = "full" }), "denied_port")
  t.kind(connect(t, { host = "ok.example", port = 443, mode = "full" }), "allow")
end)

test("what a sandbox may be made with", function(t)
  local s = t.session { args = { most_open = "allowlist" } }
  t.kind(s.gate("sandbox.create", { network_mode = "full" }), "deny")
  t.kind(s.gate("sandbox.create", { network_mode = "allowlist", allowed_hosts = { "a.example" } }), "allow")
  t.kind(s.gate("sandbox.create", { network_mode = "allowlist", allowed_hosts = { "**" } }), "deny")
  t.kind(s.gate("sandbox.create", { network_mode = "open" }), "deny")
  t.kind(s.gate("sandbox.create", {}), "allow")
end)
