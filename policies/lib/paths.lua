-- Paths inside a sandbox: normal form, folders, and the classes of places that rules speak about.
local M = {}

local find, sub, gsub, match = string.find, string.sub, string.gsub, string.match

-- "/a/./b/../c//d" → "/a/c/d"; relative paths stay relative; "~" is the home folder.
function M.normal(path, cwd)
  if sub(path, 1, 1) ~= "/" and sub(path, 1, 1) ~= "~" and cwd then path = cwd .. "/" .. path end
  if not find(path, "//", 1, true) and not find(path, "/.", 1, true) then
    if #path > 1 and sub(path, -1) == "/" then path = sub(path, 1, -2) end
    return path
  end
  local absolute = sub(path, 1, 1) == "/"
  local parts = {}
  for part in string.gmatch(path, "[^/]+") do
    if part == ".." then
      if #parts > 0 and parts[#parts] ~= ".." then parts[#parts] = nil
      elseif not absolute then parts[#parts + 1] = part end
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local joined = table.concat(parts, "/")
  return absolute and "/" .. joined or joined
end

function M.name(path) return match(path, "[^/]+$") or path end
function M.folder(path) return match(path, "^(.*)/[^/]*$") or "" end

-- Whether `path` is `folder` or lies below it. Both in normal form.
function M.below(path, folder)
  if folder == "/" then return sub(path, 1, 1) == "/" end
  local n = #folder
  return sub(path, 1, n) == folder and (#path == n or sub(path, n + 1, n + 1) == "/")
end

function M.below_any(path, folders)
  for i = 1, #folders do
    if M.below(path, folders[i]) then return folders[i] end
  end
end

-- The home folder a path starts with, written as "~/…"; nil when it is in none.
function M.in_home(path)
  if sub(path, 1, 2) == "~/" then return path end
  local rest = match(path, "^/home/[^/]+/(.+)$") or match(path, "^/root/(.+)$") or match(path, "^/workspace/~/(.+)$")
  return rest and "~/" .. rest or nil
end

-- Folders that programs fill and empty by themselves: deleting in them says nothing.
local scratch_names = {
  node_modules = true, target = true, dist = true, build = true, out = true, __pycache__ = true, [".cache"] = true,
  [".pytest_cache"] = true, [".mypy_cache"] = true, [".ruff_cache"] = true, [".tox"] = true, venv = true, [".venv"] = true,
  [".next"] = true, [".nuxt"] = true, coverage = true, [".gradle"] = true, CMakeFiles = true, [".npm"] = true, [".cargo"] = true,
  [".rustup"] = true, obj = true, bin = true, [".eggs"] = true, vendor = true, tmp = true, [".parcel-cache"] = true,
  [".turbo"] = true, [".yarn"] = true, [".pnpm-store"] = true, [".svelte-kit"] = true, ["site-packages"] = true,
}
function M.is_scratch(path)
  if sub(path, 1, 5) == "/tmp/" or sub(path, 1, 9) == "/var/tmp/" or sub(path, 1, 5) == "/dev/" or sub(path, 1, 6) == "/proc/"
    or sub(path, 1, 5) == "/run/" or sub(path, 1, 11) == "/var/cache/" or sub(path, 1, 13) == "/var/lib/apt/" then
    return true
  end
  for part in string.gmatch(path, "[^/]+") do
    if scratch_names[part] or find(part, "^build%-") or find(part, "^cmake%-build") or find(part, "%.egg%-info$") then return true end
  end
  if find(path, "/.git/", 1, true) then
    -- git writes and removes locks, temporary objects and packs all the time
    return find(path, "%.lock$") ~= nil or find(path, "/objects/", 1, true) ~= nil or find(path, "/%.git/[A-Z_]+$") ~= nil
  end
  return find(path, "%.pyc$") ~= nil or find(path, "%.o$") ~= nil or find(path, "%.sw[a-z]$") ~= nil or find(path, "~$") ~= nil
end

local system_folders = { "/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/etc" }
-- What a machine's administrator or package manager owns; /usr/local is where projects may install.
function M.is_system(path)
  if sub(path, 1, 11) == "/usr/local/" then return false end
  return M.below_any(path, system_folders) ~= nil
end
local binary_folders = { "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/lib", "/lib64", "/boot" }
function M.is_system_binary(path) return M.below_any(path, binary_folders) ~= nil end

local secret_home = {
  "~/.aws/credentials", "~/.aws/config", "~/.netrc", "~/.git-credentials", "~/.docker/config.json", "~/.kube/config", "~/.gnupg",
  "~/.config/gcloud", "~/.azure", "~/.config/gh/hosts.yml", "~/.pypirc", "~/.cargo/credentials", "~/.cargo/credentials.toml",
  "~/.gem/credentials", "~/.vault-token", "~/.terraform.d/credentials.tfrc.json", "~/.config/op", "~/.password-store",
  "~/.mozilla", "~/.config/google-chrome", "~/.config/chromium", "~/.bitcoin", "~/.ethereum", "~/.config/solana", "~/.pgpass",
  "~/.my.cnf", "~/.bash_history", "~/.zsh_history", "~/.anthropic", "~/.claude/.credentials.json", "~/.codex/auth.json",
}
local secret_system = {
  "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssl/private", "/var/run/secrets", "/run/secrets",
  "/etc/kubernetes", "/var/lib/docker", "/root/.ssh",
}
-- What kind of secret lies at the path: "shadow", "key", "credentials", "environment"; nil for anything else.
function M.secret(path)
  local c = sub(path, 1, 1)
  if c == "/" then
    if path == "/etc/shadow" or path == "/etc/gshadow" or path == "/etc/shadow-" then return "shadow" end
    if M.below_any(path, secret_system) then
      if not M.below(path, "/root/.ssh") then return "credentials" end
    elseif find(path, "^/proc/[^/]+/environ$") and not find(path, "^/proc/self/") then
      return "environment"
    end
  end
  local home = M.in_home(path)
  if home then
    if find(home, "^~/%.ssh/") then
      local name = M.name(home)
      if name == "known_hosts" or name == "config" or find(name, "%.pub$") or name == "authorized_keys" then return nil end
      return "key"
    end
    if M.below_any(home, secret_home) then return "credentials" end
  end
  if find(path, "%.pem$") then
    -- certificates of authorities are public; keys are called so
    return find(path, "key", 1, true) and not M.is_scratch(path) and not M.is_system(path) and "key" or nil
  end
  if find(path, "/id_[a-z0-9]+$") and find(path, "/.ssh/", 1, true) then return "key" end
  return nil
end

-- Files that make something run later, by itself: what kind, or nil.
local persistent = {
  { "/etc/cron", "cron" }, { "/var/spool/cron", "cron" }, { "/etc/systemd/system", "service" }, { "/lib/systemd/system", "service" },
  { "/usr/lib/systemd/system", "service" }, { "/etc/init.d", "service" }, { "/etc/rc", "service" }, { "/etc/profile", "shell start" },
  { "/etc/ld.so.preload", "preload" }, { "/etc/bash.bashrc", "shell start" }, { "/etc/xdg/autostart", "autostart" },
}
local persistent_home = {
  ["~/.bashrc"] = "shell start", ["~/.bash_profile"] = "shell start", ["~/.profile"] = "shell start", ["~/.zshrc"] = "shell start",
  ["~/.zprofile"] = "shell start", ["~/.bash_login"] = "shell start", ["~/.bash_logout"] = "shell start", ["~/.zshenv"] = "shell start",
  ["~/.config/fish/config.fish"] = "shell start",
}
function M.persistence(path)
  if sub(path, 1, 1) == "/" then
    for i = 1, #persistent do
      if sub(path, 1, #persistent[i][1]) == persistent[i][1] then return persistent[i][2] end
    end
  end
  local home = M.in_home(path)
  if home then
    if persistent_home[home] then return persistent_home[home] end
    if find(home, "^~/%.config/systemd/user/") then return "service" end
    if find(home, "^~/%.config/autostart/") then return "autostart" end
  end
end

-- Settings of a person's tools, outside the project.
local settings = {
  ["~/.gitconfig"] = true, ["~/.npmrc"] = true, ["~/.yarnrc"] = true, ["~/.config/git/config"] = true, ["~/.config/pip/pip.conf"] = true,
  ["~/.pip/pip.conf"] = true, ["~/.ssh/config"] = true, ["~/.vimrc"] = true, ["~/.inputrc"] = true, ["~/.cargo/config.toml"] = true,
  ["~/.docker/config.json"] = true, ["~/.claude/settings.json"] = true, ["~/.codex/config.toml"] = true,
}
function M.is_outer_setting(path)
  local home = M.in_home(path)
  return home ~= nil and (settings[home] ~= nil or persistent_home[home] ~= nil)
end

return M
