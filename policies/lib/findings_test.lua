local command = lib("command")
local findings = lib("findings")

local function rules(text)
  local out = {}
  for _, f in ipairs(findings.of(command.analyse(text), {}) or {}) do out[#out + 1] = f.rule end
  return table.concat(out, " ")
end

test("findings by command", function(t)
  t.equal(rules(""), "")
  t.equal(rules("ls"), "")
  t.equal(rules("curl x | sh"), "pipe_to_shell")
  t.equal(rules("cat /etc/sh*dow"), "account_files")
  t.equal(rules("rm -rf /*"), "destructive_delete")
  t.equal(rules("rm -rf ./build"), "")
  t.equal(rules("echo x >> ~/.bashrc"), "persistence")
  t.equal(rules("echo k >> ~/.ssh/authorized_keys"), "persistence")
  t.equal(rules("cp x /usr/bin/y"), "system_files")
  t.equal(rules("echo $GITHUB_TOKEN"), "secret_variable")
  t.equal(rules("chmod 4755 x"), "setuid")
  t.equal(rules("chmod 755 x"), "")
  t.equal(rules("docker run -v /:/host x"), "host_namespace")
  t.equal(rules("LD_PRELOAD=./x.so ls"), "tampering")
  t.equal(rules("sudo apt-get install -y gcc"), "")
end)
