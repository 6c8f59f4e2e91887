-- Gives each session its deductions: what was done, seen at the boundary, by the documented rules.
local command = require "lib.command"
local findings = require "lib.findings"
local hosts = require "lib.hosts"
local packages = require "lib.packages"
local paths = require "lib.paths"
local score = require "lib.score"

local find, sub, match, floor = string.find, string.sub, string.match, math.floor
local hit = score.hit

-- Who may change system files: the package managers, themselves or as ancestors.
local installers = {
  dpkg = true, apt = true, ["apt-get"] = true, ["dpkg-deb"] = true, apk = true, rpm = true, dnf = true, yum = true, pacman = true, ldconfig = true,
  ["update-alternatives"] = true, ["dpkg-divert"] = true, npm = true, pip = true, pip3 = true, gem = true, yarn = true, pnpm = true, corepack = true,
  mandb = true,
}

-- Programs that read account files only to look up names.
local lookups = { ls = true, id = true, whoami = true, ssh = true, git = true, getent = true, sudo = true, su = true, bash = true, sh = true, tar = true,
  stat = true, ps = true, find = true, install = true, chown = true, login = true, npm = true, node = true, make = true, gpg = true, rsync = true, cron = true,
  passwd = true, useradd = true, dpkg = true, apt = true, ["apt-get"] = true, systemd = true, top = true, tmux = true, screen = true, ssh_keygen = true, perl = true }

-- Adds what hit() gave to a list of verdicts.
local function note(out, deduction, consequence)
  if not deduction then return out end
  out = out or {}
  out[#out + 1] = deduction
  if consequence then out[#out + 1] = consequence end
  return out
end

-- A bounded list in the state: the newest `most` entries.
local function push(state, name, entry, most)
  local list = state[name]
  if not list then
    list = {}
    state[name] = list
  end
  if #list >= most then table.remove(list, 1) end
  list[#list + 1] = entry
end

local function remembered(state, name, test)
  for _, entry in ipairs(state[name] or {}) do
    if test(entry) then return entry end
  end
end

-- Where they live. A name alone is anybody's; old recordings have nothing but names.
local function is_installer(path)
  if not installers[paths.name(path)] then return false end
  return not find(path, "/", 1, true) or find(path, "^/usr/s?bin/") ~= nil or find(path, "^/s?bin/") ~= nil or find(path, "^/usr/local/bin/") ~= nil
    or find(path, "^/usr/lib/apt/") ~= nil or find(path, "^/usr/lib/dpkg/") ~= nil or find(path, "^/var/lib/dpkg/info/") ~= nil
end

-- Those that unpack what a distribution signed; npm and pip run what strangers wrote.
local distribution = { dpkg = true, apt = true, ["apt-get"] = true, rpm = true, dnf = true, yum = true, apk = true, pacman = true }

local function from_installer(event, only)
  local function fits(path) return is_installer(path) and (not only or only[paths.name(path)] == true) end
  if event.exe and fits(event.exe) then return true end
  local ancestors = event.ancestors
  if ancestors then
    for i = 1, #ancestors do
      if fits(ancestors[i]) then return true end
    end
  end
  return false
end

-- What a package's own scripts may do when the distribution's package manager runs them.
local install_rules = { setuid = true, system_files = true, persistence = true, outer_setting = true }

-- Links, deletes and folders have no witness that says who: while a package manager works, they are taken for its own,
-- unless something that had already been tampered with is what worked.
local function unseen_while_installing(event, ctx)
  local at = ctx.state.installer_at
  return at ~= nil and not event.exe and event.time - at < 15 and event.time - at > -15 and not (ctx.state.lost and ctx.state.lost.system_files)
end

-- What single programs, seen one by one, amount to together.
local function check_evidence(event, ctx, step, out)
  local state, name = ctx.state, step.name
  if command.downloaders[name] then
    push(state, "downloaders", { ppid = event.ppid, at = math.floor(event.time) }, 16)
    local file = command.download(step)
    if file then push(state, "downloaded", paths.normal(file, event.cwd), 32) end
  end
  local takes_code = step.reads_code or (step.script and find(step.script, "^/dev/fd/") or step.script and find(step.script, "^/proc/self/fd/"))
  if takes_code and state.downloaders and event.stdin ~= "tty" and event.stdin ~= "null" then
    local near = remembered(state, "downloaders", function(d)
      return event.time - d.at < 60 and (d.ppid == event.ppid or d.ppid == event.pid)
    end)
    if near then out = note(out, hit(event, ctx, "pipe_to_shell", "a downloader feeds " .. name)) end
  end
  if event.stdin == "socket" and command.shells[name] and not step.code and not step.script then
    out = note(out, hit(event, ctx, "reverse_shell", name .. " has a socket for its terminal"))
  end
  if state.downloaded then
    local run = step.script or step.argv[1]
    if run then
      local path = paths.normal(run, event.cwd)
      local by = remembered(state, "downloaded", function(d) return d == path or d == event.path end)
      if by then out = note(out, hit(event, ctx, "download_then_run", by, by)) end
    end
  end
  return out
end

-- Programs whose arguments say nothing about trust: what they write and read is seen as file operations.
local inert = {}
for name in string.gmatch([[cc gcc g++ c++ clang clang++ cc1 cc1plus collect2 as ld ld.bfd ld.gold lld mold ar ranlib strip nm objcopy make gmake ninja cmake ctest
  rustc rustdoc compile link asm tsc ls pwd true false test [ sleep date uname expr basename dirname mkdir rmdir wc hostname seq nproc ccache sccache
  ldd pkg-config llvm-ar libtool automake autoconf m4 bison flex protoc]], "%S+") do
  inert[name] = true
end

local function on_command(event, ctx)
  local argv = event.argv
  if event.source == "exec" and (event.path and is_installer(event.path) or from_installer(event)) then ctx.state.installer_at = floor(event.time) end
  if argv and event.source == "exec" and not ctx.state.downloaded then
    local first = argv[1]
    if first and inert[match(first, "[^/]+$") or first] and (event.uid or 0) ~= 0 then return nil end
  end
  local analysis = command.of_event(event)
  local out
  local found = findings.of(analysis, ctx.args)
  if found then
    for i = 1, #found do
      local f = found[i]
      if f.rule == "secret_read" or f.rule == "secret_variable" or f.rule == "account_files" then ctx.state.secret_at = math.floor(event.time) end
      local installing = install_rules[f.rule] and event.source == "exec" and from_installer(event, distribution)
      if not installing and (f.rule ~= "root_process" or not (ctx.session and ctx.session.root_allowed)) then
        out = note(out, hit(event, ctx, f.rule, f.detail, f.subject))
      end
    end
  end
  for i = 1, #analysis.steps do out = check_evidence(event, ctx, analysis.steps[i], out) end
  if event.uid == 0 and ctx.session and ctx.session.uid and ctx.session.uid ~= 0 and not from_installer(event) then
    out = note(out, hit(event, ctx, "root_process", event.path or "a program"))
  end
  if event.truncated then out = note(out, hit(event, ctx, "blind_spot", "a command too long to be read whole")) end
  return out
end

-- Deletes: more than ten of the user's own files within ten seconds, and again at a hundred and a thousand.
local function count_delete(event, ctx, path)
  if event.preexisting == false or paths.is_scratch(path) then return nil end
  local state, n = ctx.state, event.count or 1
  if not state.deletes_from or event.time - state.deletes_from > 10 then
    state.deletes_from, state.deletes, state.deletes_told = event.time, 0, 0
  end
  state.deletes = state.deletes + n
  local level = state.deletes > 1000 and 3 or state.deletes > 100 and 2 or state.deletes > 10 and 1 or 0
  if level <= state.deletes_told then return nil end
  local more = (level - state.deletes_told) * 5
  state.deletes_told = level
  return hit(event, ctx, "many_deletes", string.format("%d files within ten seconds, last %s", state.deletes, path), "level" .. level, more)
end

local function check_read(event, ctx, path)
  local state = ctx.state
  if path == "/etc/nsswitch.conf" then
    -- the C library opens this right before it looks a name up in /etc/passwd
    push(state, "lookups", event.pid or 0, 32)
    return nil
  end
  if event.lookup then return nil end
  local reader = event.exe and paths.name(event.exe) or "a program"
  if path == "/etc/passwd" or path == "/etc/group" then
    if path == "/etc/group" or lookups[reader] or remembered(state, "lookups", function(pid) return pid == event.pid end) then return nil end
    return hit(event, ctx, "account_files", reader .. " reads " .. path, path)
  end
  local kind = paths.secret(path)
  if not kind then return nil end
  if kind == "shadow" then
    if lookups[reader] and (reader == "sudo" or reader == "su" or reader == "passwd" or reader == "login" or reader == "useradd") or from_installer(event) then return nil end
    state.secret_at = math.floor(event.time)
    return hit(event, ctx, "account_files", reader .. " reads " .. path, path)
  end
  if kind == "key" and (find(reader, "^ssh") or reader == "git" or reader == "gpg-agent") or find(path, "_history$") and command.shells[reader] then return nil end
  if kind == "environment" and (reader == "ps" or reader == "top" or reader == "pgrep" or reader == "systemd") then return nil end
  state.secret_at = math.floor(event.time)
  return hit(event, ctx, "secret_read", reader .. " reads " .. path, path)
end

-- Beginnings of the paths where a change can matter by its place alone.
local watched = { ["/usr/"] = true, ["/bin/"] = true, ["/sbin"] = true, ["/lib/"] = true, ["/lib6"] = true, ["/lib3"] = true, ["/libx"] = true, ["/boot"] = true,
  ["/etc/"] = true, ["/root"] = true, ["/home"] = true, ["/var/"] = true }

local function check_change(event, ctx, path, operation)
  local out
  local mode = event.mode
  if mode and mode >= 1024 and (mode // 2048) % 2 == 1 and not from_installer(event, distribution) then
    out = note(out, hit(event, ctx, "setuid", path, path))
  end
  if operation == "chmod" and not paths.is_system(path) then return out end
  local place = sub(path, 1, 5)
  if event.exe and (operation == "create" or operation == "write") then
    local writer = command.base(event.exe)
    if command.downloaders[writer] and writer ~= "rsync" and writer ~= "scp" then push(ctx.state, "downloaded", path, 32) end
  end
  if not watched[place] and sub(path, 1, 1) == "/" and not find(path, "/.ssh/", 1, true) then return out end
  if find(path, "/.ssh/authorized_keys", 1, true) then return note(out, hit(event, ctx, "persistence", "SSH access: " .. path, path)) end
  if find(path, "/%.ssh/id_[%w]+$") and operation == "create" then return note(out, hit(event, ctx, "keys_made", path, path)) end
  local kind = paths.persistence(path)
  if kind and not from_installer(event) and not (kind ~= "shell start" and find(path, "^/etc/") and unseen_while_installing(event, ctx)) then
    if kind == "shell start" then return note(out, hit(event, ctx, "outer_setting", path, path)) end
    return note(out, hit(event, ctx, "persistence", kind .. ": " .. path, path))
  end
  if paths.is_outer_setting(path) then return note(out, hit(event, ctx, "outer_setting", path, path)) end
  if paths.is_system(path) and not from_installer(event) and not unseen_while_installing(event, ctx) and not find(path, "__pycache__", 1, true) and path ~= "/etc/mtab" and path ~= "/etc/resolv.conf" then
    return note(out, hit(event, ctx, "system_files", operation .. " " .. path, match(path, "^/[^/]+/?[^/]*")))
  end
  return out
end

local function on_file_op(event, ctx)
  local operation, path = event.operation, event.path
  if not path then return nil end
  if operation == "read" then
    -- nearly every file a build opens is none of these
    local c = sub(path, 1, 5)
    if (c == "/work" or c == "/usr/") and not find(path, "/.", 1, true) then return nil end
    if c ~= "/etc/" and c ~= "/proc" and c ~= "/root" and c ~= "/home" and c ~= "/run/" and c ~= "/var/" and not find(path, "/.", 1, true) and not find(path, ".pem", -4, true) then
      return nil
    end
    return check_read(event, ctx, paths.normal(path))
  end
  if operation == "list" or operation == "search" or operation == "mkdir" then return nil end
  path = paths.normal(path)
  if operation == "delete" then
    if find(path, "_history$") and paths.in_home(path) then return note(nil, hit(event, ctx, "cover_tracks", path, path)) end
    if paths.is_system(path) and not from_installer(event) and not unseen_while_installing(event, ctx) then return note(nil, hit(event, ctx, "system_files", "delete " .. path, match(path, "^/[^/]+/?[^/]*"))) end
    return note(nil, count_delete(event, ctx, path))
  end
  if operation == "rename" and event.target then
    local target = paths.normal(event.target)
    if remembered(ctx.state, "downloaded", function(d) return d == path end) then push(ctx.state, "downloaded", target, 32) end
    return check_change(event, ctx, target, operation)
  end
  return check_change(event, ctx, path, operation)
end

local miner_ports = { [3333] = true, [4444] = true, [5555] = true, [7777] = true, [14444] = true, [45700] = true }
local miner_pools = { "**.nanopool.org", "**.minexmr.com", "**.supportxmr.com", "**.moneroocean.stream", "**.nicehash.com", "**.f2pool.com", "**.2miners.com",
  "**.hashvault.pro", "**.ethermine.org", "**.miningpoolhub.com", "**.unmineable.com", "**.herominers.com" }

-- What is known of a host and port from the arguments alone; asked for the same few hosts again and again.
local host_cache, host_count = {}, 0
local function known_host(args, host, port)
  local key = port and host .. ":" .. port or host
  local known = host_cache[key]
  if known == nil then
    known = hosts.is_well_known(host) or args.known_hosts ~= nil and hosts.match_any(args.known_hosts, host, port) ~= nil
    if host_count >= 500 then host_cache, host_count = {}, 0 end
    host_cache[key], host_count = known, host_count + 1
  end
  return known
end
local class_cache, class_count = {}, 0
local function address_class(address)
  local class = class_cache[address]
  if class == nil then
    class = hosts.class(address) or false
    if class_count >= 500 then class_cache, class_count = {}, 0 end
    class_cache[address], class_count = class, class_count + 1
  end
  return class or nil
end

local function on_network(event, ctx)
  local host = event.host and event.host ~= "" and event.host or event.address or ""
  if host == "" then return nil end
  host = hosts.normal(host)
  local args, state, out = ctx.args, ctx.state, nil
  local known = known_host(args, host, event.port)
  if not known then
    local allowed = ctx.session and ctx.session.allowed_hosts
    known = allowed ~= nil and hosts.match_any(allowed, host, event.port) ~= nil
  end
  local class = address_class(event.address or host) or address_class(host)
  if class == "loopback" then return nil end
  if class and not known then
    out = note(out, hit(event, ctx, "inner_address", class .. " address " .. host, class))
  elseif event.verdict == "deny" then
    out = note(out, hit(event, ctx, "denied_egress", host, host))
  elseif not known and event.operation ~= "close" then
    local points = state.lost and state.lost.unknown_host and 5 or nil
    out = note(out, hit(event, ctx, "unknown_host", host, host, points))
  end
  if not known and (hosts.match_any(miner_pools, host) or miner_ports[event.port] and event.protocol == "tcp") then
    if hosts.match_any(miner_pools, host) then out = note(out, hit(event, ctx, "crypto_miner", "mining pool " .. host, host)) end
  end
  if event.operation == "dns" then
    local label = match(host, "^[^.]+") or ""
    if #label >= 50 or (#host > 120) then
      state.long_names = (state.long_names or 0) + 1
      if state.long_names >= 5 then out = note(out, hit(event, ctx, "exfiltration", "data in DNS names: " .. sub(host, 1, 60), "dns")) end
    end
    return out
  end
  local sent, received = event.bytes_out or 0, event.bytes_in or 0
  if not known and event.verdict ~= "deny" then
    if state.secret_at and event.time - state.secret_at < args.secret_window and (event.operation == "connect" or sent > 0) then
      out = note(out, hit(event, ctx, "exfiltration", "secrets were read, then " .. host .. " was called", host))
    end
    state.sent = (state.sent or 0) + sent
    if state.sent > args.bulk_bytes then
      state.sent = 0
      out = note(out, hit(event, ctx, "exfiltration", "bulk data to " .. host, "bulk"))
    end
  end
  if received > args.large_download and not known then out = note(out, hit(event, ctx, "large_download", host, host)) end
  return out
end

local function on_package(event, ctx)
  local name, manager, out = event.name or "", event.manager or "", nil
  if event.registry then
    local known, host = packages.known_registry(manager, event.registry, ctx.args.registries)
    if not known and manager ~= "apt" and not hosts.is_well_known(host) then out = note(out, hit(event, ctx, "unknown_registry", name .. " from " .. host, host)) end
  end
  if event.in_lockfile == false then out = note(out, hit(event, ctx, "unlocked_package", name, name)) end
  if event.in_lockfile ~= true then
    local like = packages.looks_like(manager, name)
    if like then out = note(out, hit(event, ctx, "typosquat", name .. " looks like " .. like, name)) end
  end
  return out
end

return {
  name = "trust",
  version = "1.0.0",
  requires_schema = 1,
  description = "Scores each session by what it does: deductions with reasons, a pause when trust is gone",
  args = {
    type = "object",
    additionalProperties = false,
    properties = {
      pause_below = { type = "number", minimum = 0, maximum = 100, default = 30, description = "pause the sandbox below this score" },
      kill_below = { type = "number", minimum = 0, maximum = 100, default = 0, description = "destroy it below this score; 0 = never" },
      known_hosts = { type = "array", items = { type = "string" }, description = "host patterns that cost nothing" },
      registries = { type = "array", items = { type = "string" }, description = "further package registries, by host" },
      secret_window = { type = "number", default = 300, description = "seconds after reading a secret in which a call to an unknown host is an exfiltration" },
      bulk_bytes = { type = "number", default = 52428800, description = "bytes to unknown hosts that count as bulk" },
      large_download = { type = "number", default = 104857600, description = "bytes of a download that is large" },
      rules = {
        type = "object",
        description = "points, cap and enabled by rule",
        additionalProperties = {
          type = "object",
          additionalProperties = false,
          properties = { points = { type = "number", exclusiveMinimum = 0, maximum = 100 }, cap = { type = "number", minimum = 0, maximum = 100 }, enabled = { type = "boolean" } },
        },
      },
    },
  },
  on = {
    command = on_command,
    file_op = on_file_op,
    network = on_network,
    package = on_package,
    policy_error = function(event, ctx)
      if event.policy == ctx.policy then return note(nil, hit(event, ctx, "blind_spot", event.message or "")) end
    end,
  },
}
