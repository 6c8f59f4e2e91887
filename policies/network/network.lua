-- Decides about connections out of a sandbox: its mode, its allow-list, and addresses nobody inside may reach.
local hosts = require "lib.hosts"

local function refuse(reason, rule, advice) return deny(reason, { rule = rule, advice = advice }) end

local function on_connect(event, ctx)
  local args, session = ctx.args, ctx.session
  local host = event.host ~= nil and event.host ~= "" and hosts.normal(event.host) or nil
  local address = event.address and hosts.normal(event.address) or nil
  local port = event.port or 0
  local shown = (host or address or "an unnamed address") .. ":" .. port
  if host and hosts.matches("*.caged.internal", host, port) then return allow("served by the host itself", { rule = "internal" }) end

  -- Addresses that lead back to us or to our neighbours: by address, and by a name that is an address.
  local class = address and hosts.class(address) or host and hosts.class(host)
  if class and not (args.allow_inner and hosts.match_any(args.allow_inner, address or host, port)) then
    return refuse(shown .. " is a " .. class .. " address", "inner_address",
      class == "metadata" and "nothing inside a sandbox needs the metadata service" or "add the address to allow_inner if it is meant")
  end
  if args.deny then
    local pattern = host and hosts.match_any(args.deny, host, port) or address and hosts.match_any(args.deny, address, port)
    if pattern then return refuse(shown .. " is refused by " .. pattern, "denied_host", "take " .. pattern .. " out of deny") end
  end
  for _, closed in ipairs(args.deny_ports) do
    if closed == port then return refuse("port " .. port .. " is closed", "denied_port", "take the port out of deny_ports if it is meant") end
  end

  local mode = event.mode or session and session.network_mode or "none"
  if mode == "none" then return refuse("the sandbox has no network (mode none); it wanted " .. shown, "mode_none", "make it with network_mode allowlist and allow " .. (host or shown)) end
  if mode == "full" then return nil end
  if mode ~= "allowlist" then return refuse("the network mode '" .. mode .. "' is not known", "unknown_mode", "use none, allowlist or full") end
  local list = event.allowed_hosts or session and session.allowed_hosts or {}
  local named = host or address
  if not named then return refuse("a connection without a name or an address", "unnamed", "connect by name") end
  local pattern = hosts.match_any(list, named, port) or args.always and hosts.match_any(args.always, named, port)
  if pattern then return nil end
  if not host or hosts.is_address(host) then
    return refuse(shown .. " has no name, and allow-lists go by name", "unnamed", "connect by name, or allow " .. (address or named))
  end
  return refuse(shown .. " is not in the allow-list", "not_allowed", "add " .. host .. " to allowed_hosts")
end

-- What a sandbox may ask for when it is made.
local function on_create(event, ctx)
  local most = ctx.args.most_open
  local rank = { none = 1, allowlist = 2, full = 3 }
  local mode = event.network_mode or "none"
  if not rank[mode] then return refuse("the network mode '" .. mode .. "' is not known", "unknown_mode", "use none, allowlist or full") end
  if rank[mode] > rank[most] then return refuse("network mode " .. mode .. " is more open than " .. most, "mode_too_open", "use " .. most .. ", or change most_open") end
  if mode == "allowlist" then
    for _, pattern in ipairs(event.allowed_hosts or {}) do
      if ctx.args.no_wildcards_of and (pattern == "*" or pattern == "**") then
        return refuse("the allow-list lets everything through (" .. pattern .. ")", "wildcard", "name the hosts, or use network_mode full openly")
      end
    end
  end
end

local patterns = { type = "array", items = { type = "string", minLength = 1 } }

return {
  name = "network",
  version = "1.0.0",
  requires_schema = 1,
  description = "Lets connections out by mode and allow-list; never to private, loopback or metadata addresses",
  args = {
    type = "object",
    additionalProperties = false,
    properties = {
      most_open = { type = "string", enum = { "none", "allowlist", "full" }, default = "full", description = "the most open mode a sandbox may have" },
      always = patterns,
      deny = patterns,
      allow_inner = patterns,
      deny_ports = { type = "array", items = { type = "integer" }, default = { 25, 465, 587 }, description = "ports that are closed in every mode; mail by default" },
      no_wildcards_of = { type = "boolean", default = true, description = "refuse allow-lists that allow everything" },
    },
  },
  gate = { ["network.connect"] = on_connect, ["sandbox.create"] = on_create },
}
