-- What is dangerous about a command: steps (lib.command) → findings { rule, detail, subject }.
local command = require "lib.command"
local paths = require "lib.paths"
local code = require "lib.code"
local packages = require "lib.packages"

local M = {}

local find, sub, match, lower = string.find, string.sub, string.match, string.lower

local function set(text)
  local out = {}
  for word in string.gmatch(text, "%S+") do out[word] = true end
  return out
end

local network_tools = set [[curl wget nc ncat netcat socat telnet scp sftp rsync ftp http https dig nslookup host ping drill aria2c openssl ssh gsutil aws rclone]]
local no_readers = set [[ls stat test [ chmod chown touch mkdir rm mv echo printf find which type ssh ssh-add git id docker getent
  ssh-copy-id sftp realpath readlink basename dirname du df file : true false export set alias cd]]
local decoders = set "base64 base32 xxd openssl gunzip zcat uudecode gpg rev tr hexdump od perl"
local miners = set "xmrig xmr-stak minerd cpuminer ccminer ethminer nbminer t-rex lolminer phoenixminer cgminer bfgminer xmrig-proxy claymore teamredminer gminer srbminer-multi nanominer"
local writers = { tee = "all", cp = "last", mv = "last", install = "last", ln = "last", rm = "all", unlink = "all", shred = "all", truncate = "all",
  touch = "all", chmod = "rest", chown = "rest", chattr = "rest", rmdir = "all", rsync = "last", dd = "of", patch = "all" }
local package_tools = set "apt apt-get dpkg yum dnf apk pacman aptitude snap"

local function arguments(step)
  local out = {}
  for i = 2, #step.argv do
    local word = step.argv[i]
    if sub(word, 1, 1) ~= "-" then out[#out + 1] = word end
  end
  return out
end

local function has_flag(step, letter, long)
  for i = 2, #step.argv do
    local word = step.argv[i]
    if long and (word == long or find(word, long .. "=", 1, true) == 1) then return true end
    if letter and find(word, "^%-%a*" .. letter) then return true end
  end
  return false
end

local function add(out, rule, detail, subject) out[#out + 1] = { rule = rule, detail = detail, subject = subject } end

local function shown(step)
  local text = table.concat(step.argv, " ", 1, #step.argv < 8 and #step.argv or 8)
  return #text > 120 and sub(text, 1, 117) .. "…" or text
end

-- The secret a step reads: kind, path.
local function secret_of(step)
  if no_readers[step.name] then return nil end
  local function look(word)
    word = match(word, "^@(.+)$") or match(word, "=@?(.+)$") or match(word, "^%-%a(.+)$") or word
    if not find(word, "[/~.]") then return nil end
    local path = paths.normal(word)
    if path == "/etc/passwd" then return "passwd", path end
    local kind = paths.secret(path)
    if kind then return kind, path end
    if find(path, "^/etc/[sp]?[%w*?%[%]]*[*?%[][%w*?%[%]]*$") and (find("/etc/shadow", "^" .. M.glob(path) .. "$")) then return "shadow", path end
  end
  for i = 2, #step.argv do
    local kind, path = look(step.argv[i])
    if kind then return kind, path end
  end
  for _, r in ipairs(step.redirects or {}) do
    if r.op == "<" then
      local kind, path = look(r.target)
      if kind then return kind, path end
    end
  end
end

-- A shell pattern as a Lua pattern.
function M.glob(text)
  text = string.gsub(text, "[%^%$%(%)%%%.%+%-]", "%%%0")
  text = string.gsub(text, "%*", ".*")
  return (string.gsub(text, "%?", "."))
end

local function reads_secret(steps)
  for _, s in ipairs(steps or {}) do
    local kind, path = secret_of(s)
    if kind then return kind, path end
    if (s.name == "env" or s.name == "printenv") and #s.argv == 1 then return "environment", "the environment" end
  end
end

local function check_execution(step, out)
  for _, source in ipairs(step.runs or {}) do
    if command.downloaders[source.name] then
      add(out, "pipe_to_shell", source.name .. " feeds " .. step.name)
      break
    elseif decoders[source.name] and (step.language or step.dynamic) then
      add(out, "hidden_code", "the output of " .. source.name .. " is run by " .. step.name)
      break
    end
  end
  if step.language and step.language ~= "shell" and step.code then
    for _, f in ipairs(code.findings(step.code, step.language)) do add(out, f.rule, f.detail) end
  elseif step.language == "shell" and step.code and sub(step.code, 1, 2) == "#!" then
    add(out, "pipe_to_shell", "a whole script was handed to " .. step.name .. " -c")
  end
end

local function check_reverse_shell(step, out)
  for _, r in ipairs(step.redirects or {}) do
    if find(r.target, "^/dev/tcp/") or find(r.target, "^/dev/udp/") then return add(out, "reverse_shell", "a redirection to " .. r.target) end
  end
  local name = step.name
  if name == "nc" or name == "ncat" or name == "netcat" then
    if has_flag(step, "e", "--exec") or has_flag(step, "c", "--sh-exec") then return add(out, "reverse_shell", shown(step)) end
    for _, source in ipairs(step.from or {}) do
      if command.shells[source.name] and source.reads_code then return add(out, "reverse_shell", source.name .. " talks to " .. shown(step)) end
    end
  elseif name == "socat" then
    for i = 2, #step.argv do
      local word = lower(step.argv[i])
      if find(word, "exec:", 1, true) or find(word, "system:", 1, true) then return add(out, "reverse_shell", shown(step)) end
    end
  end
end

local function check_miner(step, out)
  if miners[step.name] then return add(out, "crypto_miner", shown(step)) end
  for i = 2, #step.argv do
    local word = step.argv[i]
    if find(word, "stratum+tcp://", 1, true) or find(word, "stratum+ssl://", 1, true) or find(word, "^%-%-donate%-level") or find(word, "^%-%-coin=") then
      return add(out, "crypto_miner", shown(step))
    end
  end
end

local home_targets = set "/ /* ~ ~/ ~/* /home /home/* /root /root/* /etc /usr /var /bin /lib /boot /opt .. ../ ../.. .git .git/ ./.git * . ./ ./*"
local function check_deletes(step, out)
  if step.name == "rm" and has_flag(step, "[rR]", "--recursive") then
    for _, target in ipairs(arguments(step)) do
      if home_targets[target] or home_targets[paths.normal(target)] then
        if not (target == "*" or target == "." or target == "./" or target == "./*") or has_flag(step, nil, "--no-preserve-root") then
          return add(out, "destructive_delete", shown(step))
        end
      end
    end
  elseif step.name == "find" and (has_flag(step, nil, "-delete")) and (step.argv[2] == "/" or step.argv[2] == "~" or step.argv[2] == "/home") then
    add(out, "destructive_delete", shown(step))
  elseif find(step.name, "^mkfs") or step.name == "wipefs" or (step.name == "dd" and find(table.concat(step.argv, " "), "of=/dev/[svx][dg]")) then
    add(out, "destructive_delete", shown(step))
  end
end

local function check_secrets(step, out)
  local kind, path = secret_of(step)
  if kind == "passwd" or kind == "shadow" then add(out, "account_files", step.name .. " reads " .. path, path)
  elseif kind then add(out, "secret_read", step.name .. " reads " .. path, path) end
  if network_tools[step.name] then
    if kind and kind ~= "passwd" and (step.name ~= "openssl" and step.name ~= "ssh" or step.from) and step.name ~= "ssh" then
      add(out, "exfiltration", step.name .. " sends " .. path)
    end
    local from_kind, from_path = reads_secret(step.from)
    if not from_kind then from_kind, from_path = reads_secret(step.arg_steps) end
    if from_kind then add(out, "exfiltration", step.name .. " sends " .. from_path) end
  end
  if step.name == "printenv" or step.name == "echo" or step.name == "printf" then
    for i = 2, #step.argv do
      local variable = step.name == "printenv" and step.argv[i] or match(step.argv[i], "%$%{?([%w_]+)")
      if variable and code.sensitive_name(variable) then return add(out, "secret_variable", step.name .. " shows " .. variable, variable) end
    end
  elseif step.name == "grep" or step.name == "rg" or step.name == "egrep" then
    for _, source in ipairs(step.from or {}) do
      if (source.name == "env" or source.name == "printenv" or source.name == "set" or source.name == "export") and #source.argv == 1 then
        local wanted = lower(table.concat(step.argv, " ", 2))
        if find(wanted, "key") or find(wanted, "token") or find(wanted, "secret") or find(wanted, "pass") or find(wanted, "cred") then
          return add(out, "secret_variable", "the environment is searched: " .. shown(step))
        end
      end
    end
  end
end

-- The files a step writes, as far as its words say.
local function written(step)
  local out = {}
  for _, r in ipairs(step.redirects or {}) do
    if (find(r.op, ">", 1, true)) and r.op ~= ">&" and not find(r.target, "^/dev/") then out[#out + 1] = r.target end
  end
  local how = writers[step.name]
  if step.name == "sed" or step.name == "perl" then how = has_flag(step, "i", "--in-place") and "all" or nil end
  if how then
    local words = arguments(step)
    if how == "last" then words = { words[#words] } end
    for i = how == "rest" and 2 or 1, #words do
      out[#out + 1] = how == "of" and match(words[i], "^of=(.+)$") or how ~= "of" and words[i] or nil
    end
  end
  return out
end

local function check_writes(step, out)
  for _, target in ipairs(written(step)) do
    local path = paths.normal(target)
    local kind = paths.persistence(path)
    if path == "/etc/passwd" or path == "/etc/shadow" or path == "/etc/sudoers" then add(out, "system_files", shown(step), path)
    elseif find(path, "/%.ssh/authorized_keys$") or find(path, "^~?/?%.ssh/authorized_keys") then add(out, "persistence", "SSH access: " .. shown(step), path)
    elseif kind then add(out, "persistence", kind .. ": " .. shown(step), path)
    elseif paths.is_system(path) then add(out, "system_files", shown(step), path)
    elseif find(path, "_history$") and (paths.in_home(path)) then add(out, "cover_tracks", shown(step), path) end
  end
  if (step.name == "chmod" or step.name == "install") then
    for i = 2, #step.argv do
      local word = step.argv[i]
      if find(word, "^[ugo]*%+[rwx]*s") or find(word, "^0?[2467][0-7][0-7][0-7]$") and (step.name == "chmod" or step.argv[i - 1] == "-m" or step.argv[i - 1] == "--mode") or find(word, "^%-m0?4") then
        if not find(word, "^0?2") or find(word, "^0?[467]") then add(out, "setuid", shown(step)) end
        break
      end
    end
  elseif step.name == "setcap" then
    add(out, "setuid", shown(step))
  end
end

local function check_others(step, out)
  local name, first = step.name, step.argv[2]
  if step.as_root and not package_tools[name] then add(out, "root_process", "run as root: " .. shown(step)) end
  if name == "su" and not (first and sub(first, 1, 1) ~= "-" and first ~= "root") then add(out, "root_process", shown(step)) end
  if name == "ssh-keygen" and not (has_flag(step, "[lFRByH]")) or name == "openssl" and (first == "genrsa" or first == "genpkey" or first == "req" or first == "ecparam")
    or name == "mkcert" or name == "gpg" and has_flag(step, nil, "--gen-key") then
    add(out, "keys_made", shown(step))
  end
  if name == "crontab" and first ~= "-l" or name == "at" and first ~= "-l" or name == "systemctl" and first == "enable" then add(out, "persistence", shown(step)) end
  if name == "nsenter" or (step.via and step.via.nsenter) or name == "setns" then add(out, "host_namespace", shown(step)) end
  if name == "docker" or name == "podman" then
    for i = 2, #step.argv do
      local word = step.argv[i]
      if word == "--privileged" or find(word, "^%-%-net[work]*=host") or word == "--pid=host" or find(word, "^/:/") or find(word, "docker.sock", 1, true) then
        add(out, "host_namespace", shown(step))
        break
      end
    end
  end
  for i = 2, #step.argv do
    if find(step.argv[i], "^/proc/1/ns") or find(step.argv[i], "^/proc/1/root") then
      add(out, "host_namespace", shown(step))
      break
    end
  end
  if name == "history" and (first == "-c" or first == "-cw") or name == "unset" and first == "HISTFILE" then add(out, "cover_tracks", shown(step)) end
  if name == "kill" or name == "pkill" or name == "killall" then
    if find(table.concat(step.argv, " "), "caged-agent", 1, true) then add(out, "tampering", shown(step)) end
  elseif (name == "iptables" or name == "ip6tables") and has_flag(step, "[FPDX]", "--flush") or name == "nft" and first == "flush" or name == "auditctl" then
    add(out, "tampering", shown(step))
  end
end

local function check_install(step, out, options)
  local install = packages.install(step.argv)
  if not install then return end
  if install.registry then
    local known, host = packages.known_registry(install.manager, install.registry, options.registries)
    if not known then add(out, "unknown_registry", install.manager .. " is pointed at " .. host, host) end
  end
  for _, source in ipairs(install.sources) do
    local known, host = packages.known_registry(install.manager, source, options.registries)
    if not known and not find(source, "^github:") and not find(source, "^git[+%w]*:?/?/?.*github%.com") then
      add(out, "unknown_registry", install.manager .. " installs from " .. host, host)
    end
  end
  for i = 1, #install.packages < 20 and #install.packages or 20 do
    local like = packages.looks_like(install.manager, install.packages[i])
    if like then add(out, "typosquat", install.packages[i] .. " looks like " .. like, install.packages[i]) end
  end
end

-- Files downloaded by these steps and run by a later one.
local function check_download_then_run(steps, out)
  local downloaded
  for _, step in ipairs(steps) do
    local file = command.download(step)
    if file then
      downloaded = downloaded or {}
      downloaded[paths.name(file)] = step.name
    elseif downloaded then
      local run = step.script or (find(step.argv[1] or "", "/", 1, true) and step.argv[1])
      local by = run and downloaded[paths.name(run)]
      if by then add(out, "download_then_run", by .. " wrote " .. run .. ", and it is run") end
    end
  end
end

-- options: registries = further known hosts. Returns nil when there is nothing to say.
function M.of(analysis, options)
  local out = {}
  local steps = analysis.steps
  for i = 1, #steps do
    local step = steps[i]
    check_execution(step, out)
    check_reverse_shell(step, out)
    check_miner(step, out)
    check_deletes(step, out)
    check_secrets(step, out)
    check_writes(step, out)
    check_others(step, out)
    check_install(step, out, options)
    if step.assigns and step.assigns.LD_PRELOAD then add(out, "tampering", "LD_PRELOAD is set for " .. shown(step)) end
  end
  if #steps > 1 then check_download_then_run(steps, out) end
  return #out > 0 and out or nil
end

return M
