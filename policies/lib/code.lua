-- Programs given on the command line (python -c, perl -e, node -e …): what they are up to, told by the calls they make.
local M = {}

local find, lower, gsub, match = string.find, string.lower, string.gsub, string.match

local function any(text, words)
  for i = 1, #words do
    if find(text, words[i], 1, true) then return words[i] end
  end
end

local fetches = {
  python = { "urlopen", "urlretrieve", "requests.get", "requests.post", "httpx.", "http.client", "urllib3", "aiohttp", "wget.download", "from requests import" },
  javascript = { "fetch(", "https.get", "http.get", "axios", "require('http", 'require("http', "node:http" },
  perl = { "LWP::", "HTTP::Tiny", "LWP::Simple", "WWW::Mechanize" },
  ruby = { "open-uri", "Net::HTTP", "net/http", "URI.open", "httparty" },
  php = { "file_get_contents('http", 'file_get_contents("http', "curl_exec", "fopen('http", 'fopen("http' },
  lua = { "socket.http" },
}
local runs = {
  python = { "exec(", "eval(", "os.system", "os.popen", "subprocess", "compile(", "runpy", "os.exec", "pty.spawn", "__import__('os').system" },
  javascript = { "eval(", "child_process", "Function(", "execSync", "spawnSync", "vm.run" },
  perl = { "eval", "system", "exec", "`", "qx" }, ruby = { "eval", "system", "exec", "`", "Open3", "instance_eval" },
  php = { "eval(", "system(", "shell_exec", "passthru", "exec(", "`" }, lua = { "load(", "loadstring", "os.execute", "io.popen", "dofile" },
}
local decodes = { "b64decode", "base64", "fromhex", "unhexlify", "zlib.decompress", "marshal.loads", "'hex'", "codecs.decode", "pack('H", "MIME::Base64",
  "decode64", "gzinflate", "str_rot13", "atob(", "fromCharCode", "chr(" }
local sockets = { "socket.socket", "socket(", "create_connection", "TCPSocket", "IO::Socket", "fsockopen", "net.connect", "net.Socket", "createConnection", "Socket;" }
local shells = { "/bin/sh", "/bin/bash", "pty.spawn", "dup2", "cmd.exe", "STDIN,", "subprocess.call(['sh", "'sh'", '"sh"', "/bin/zsh", "'bash'", '"bash"' }
local secret_files = { "/etc/shadow", ".ssh/id_", ".aws/credentials", ".netrc", ".git-credentials", ".docker/config.json", ".kube/config", ".bash_history",
  "/proc/1/environ", ".pypirc", ".npmrc", "/run/secrets", ".gnupg" }

-- Names of variables that hold secrets.
function M.sensitive_name(name)
  local text = lower(name)
  return find(text, "secret", 1, true) or find(text, "token", 1, true) or find(text, "passw", 1, true) or find(text, "api_?key") or find(text, "apikey", 1, true)
    or find(text, "private_?key") or find(text, "access_?key") or find(text, "credential", 1, true) or find(text, "_pat$") or find(text, "auth_key", 1, true)
end

function M.findings(text, language)
  local out = {}
  local function add(rule, detail) out[#out + 1] = { rule = rule, detail = detail } end
  if #text > 65536 then text = text:sub(1, 65536) end
  -- joined literals ('so'..'cket', "so" + "cket") are one literal
  local plain = gsub(text, "['\"]%s*[+.]+%s*['\"]", "")
  local fetch = fetches[language] and any(plain, fetches[language])
  local run = runs[language] and any(plain, runs[language])
  local socket = any(plain, sockets)
  if socket and any(plain, shells) then
    add("reverse_shell", language .. " code joins " .. socket .. " and a shell")
  elseif fetch and run then
    add("pipe_to_shell", language .. " code fetches (" .. fetch .. ") and runs (" .. run .. ")")
  elseif run and (find(run, "ex") or find(run, "eval") or find(run, "system") or find(run, "load")) and any(plain, decodes) then
    add("hidden_code", language .. " code decodes something and runs it (" .. run .. ")")
  end
  if any(plain, { "print", "console.log", "puts ", "echo " }) then
    for _, pattern in ipairs { "environ%.get%(%s*['\"]([%w_]+)", "environ%[%s*['\"]([%w_]+)", "getenv%(%s*['\"]([%w_]+)", "process%.env%.([%w_]+)", "ENV%[%s*['\"]([%w_]+)" } do
      local variable = match(plain, pattern)
      if variable and M.sensitive_name(variable) then
        add("secret_variable", language .. " code shows " .. variable)
        break
      end
    end
  end
  local secret = any(plain, secret_files)
  if secret then
    add(secret == "/etc/shadow" and "account_files" or "secret_read", language .. " code names " .. secret)
    if fetch or socket then add("exfiltration", language .. " code sends " .. secret) end
  elseif find(plain, "/etc/passwd", 1, true) then
    add("account_files", language .. " code names /etc/passwd")
  end
  if find(plain, "rmtree%(%s*['\"]/['\"]") or find(plain, "rmtree%(%s*['\"]~") or find(plain, "rmtree%(os%.path%.expanduser") or find(plain, "rmSync%(%s*['\"]/['\"]") then
    add("destructive_delete", language .. " code removes a whole tree")
  end
  if find(plain, "stratum+tcp", 1, true) then add("crypto_miner", language .. " code speaks the miners' protocol") end
  return out
end

return M
