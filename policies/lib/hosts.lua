-- Host patterns: exact names, *.one.label, **.any.depth, host:port, addresses and CIDR blocks; and classes of addresses.
local M = {}

local find, sub, match, lower = string.find, string.sub, string.match, string.lower

-- "Example.ORG." → "example.org"
function M.normal(host)
  host = lower(host)
  if sub(host, -1) == "." then host = sub(host, 1, -2) end
  return match(host, "^%[(.*)%]$") or host
end

-- Dotted decimal, in the strict form only, as a number; nil otherwise.
function M.ipv4(text)
  local a, b, c, d = match(text, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a or #a > 3 or #b > 3 or #c > 3 or #d > 3 then return nil end
  if #a > 1 and sub(a, 1, 1) == "0" or #b > 1 and sub(b, 1, 1) == "0" or #c > 1 and sub(c, 1, 1) == "0" or #d > 1 and sub(d, 1, 1) == "0" then
    return nil
  end
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if a > 255 or b > 255 or c > 255 or d > 255 then return nil end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- The eight groups of an IPv6 address; nil when it is none.
function M.ipv6(text)
  if not find(text, ":", 1, true) or find(text, "[^%x:%.]") or find(text, ":::", 1, true) then return nil end
  local tail = match(text, "([%d%.]+)$")
  if tail and find(tail, ".", 1, true) then
    local v4 = M.ipv4(tail)
    if not v4 then return nil end
    text = sub(text, 1, #text - #tail) .. string.format("%x:%x", v4 // 65536, v4 % 65536)
  end
  local left, right = match(text, "^(.-)::(.*)$")
  if right and find(right, "::", 1, true) then return nil end
  local function groups(part)
    local out = {}
    if part == "" then return out end
    for piece in string.gmatch(part .. ":", "([^:]*):") do
      if piece == "" or #piece > 4 then return nil end
      out[#out + 1] = tonumber(piece, 16)
    end
    return out
  end
  if not left then
    local all = groups(text)
    return all and #all == 8 and all or nil
  end
  local head, rest = groups(left), groups(right)
  if not head or not rest or #head + #rest > 7 then return nil end
  local out = {}
  for i = 1, #head do out[i] = head[i] end
  for i = #head + 1, 8 - #rest do out[i] = 0 end
  for i = 1, #rest do out[8 - #rest + i] = rest[i] end
  return out
end

local function v4_within(address, block, bits)
  if bits == 0 then return true end
  local shift = 2 ^ (32 - bits)
  return address // shift == block // shift
end

local function v6_within(address, block, bits)
  for i = 1, 8 do
    if bits <= 0 then return true end
    local width = bits < 16 and bits or 16
    local shift = 2 ^ (16 - width)
    if address[i] // shift ~= block[i] // shift then return false end
    bits = bits - width
  end
  return true
end

-- The IPv4 number inside ::ffff:a.b.c.d and 64:ff9b::a.b.c.d.
local function mapped(groups)
  if groups[1] == 0 and groups[2] == 0 and groups[3] == 0 and groups[4] == 0 and groups[5] == 0
    and (groups[6] == 0xffff or groups[6] == 0 and (groups[7] ~= 0 or groups[8] > 1)) then
    return groups[7] * 65536 + groups[8]
  end
  if groups[1] == 0x64 and groups[2] == 0xff9b then return groups[7] * 65536 + groups[8] end
end

-- Whether the address lies in a block "10.0.0.0/8" or "fc00::/7". False for names and for what is no block.
function M.in_cidr(address, cidr)
  local base, bits = match(cidr, "^(.+)/(%d+)$")
  if not base then return false end
  bits = tonumber(bits)
  local v4, block4 = M.ipv4(address), M.ipv4(base)
  if block4 then
    if bits > 32 then return false end
    if not v4 then
      local v6 = M.ipv6(address)
      v4 = v6 and mapped(v6)
    end
    return v4 ~= nil and v4_within(v4, block4, bits)
  end
  local block6, v6 = M.ipv6(base), M.ipv6(address)
  return block6 ~= nil and v6 ~= nil and bits <= 128 and v6_within(v6, block6, bits)
end

-- A pattern "host:port", "[v6]:port" or without a port: host part, port or nil.
local function split(pattern)
  local host, port = match(pattern, "^%[(.-)%]:(%d+)$")
  if host then return host, tonumber(port) end
  host, port = match(pattern, "^([^:]+):(%d+)$")
  if host then return host, tonumber(port) end
  return match(pattern, "^%[(.*)%]$") or pattern, nil
end

-- Whether host (a name or an address) and port fit the pattern.
function M.matches(pattern, host, port)
  local wanted, wanted_port = split(M.normal(pattern))
  if wanted_port and wanted_port ~= port then return false end
  host = M.normal(host)
  if host == "" or wanted == "" then return false end
  if wanted == "*" or wanted == "**" then return true end
  if find(wanted, "/", 1, true) then return M.in_cidr(host, wanted) end
  if sub(wanted, 1, 3) == "**." then
    local suffix = sub(wanted, 3)
    return #host > #suffix and sub(host, -#suffix) == suffix
  end
  if sub(wanted, 1, 2) == "*." then
    local suffix = sub(wanted, 2)
    return #host > #suffix and sub(host, -#suffix) == suffix and not find(sub(host, 1, #host - #suffix), ".", 1, true)
  end
  return wanted == host
end

-- The first of the patterns that fits, or nil.
function M.match_any(patterns, host, port)
  for i = 1, #patterns do
    if M.matches(patterns[i], host, port) then return patterns[i] end
  end
end

local classes = {
  { "169.254.169.254/32", "metadata" }, { "169.254.170.2/32", "metadata" }, { "100.100.100.200/32", "metadata" },
  { "fd00:ec2::254/128", "metadata" }, { "0.0.0.0/8", "unspecified" }, { "127.0.0.0/8", "loopback" }, { "10.0.0.0/8", "private" },
  { "172.16.0.0/12", "private" }, { "192.168.0.0/16", "private" }, { "100.64.0.0/10", "private" }, { "169.254.0.0/16", "link-local" },
  { "192.0.0.0/24", "reserved" }, { "198.18.0.0/15", "reserved" }, { "224.0.0.0/4", "multicast" }, { "240.0.0.0/4", "reserved" },
  { "::1/128", "loopback" }, { "::/128", "unspecified" }, { "fc00::/7", "private" }, { "fe80::/10", "link-local" }, { "ff00::/8", "multicast" },
}
local metadata_names = { ["metadata.google.internal"] = true, ["metadata"] = true, ["instance-data"] = true, ["instance-data.ec2.internal"] = true }

-- The blocks as numbers, read once.
local v4_classes, v6_classes = {}, {}
for _, entry in ipairs(classes) do
  local base, bits = match(entry[1], "^(.+)/(%d+)$")
  local v4 = M.ipv4(base)
  local list = v4 and v4_classes or v6_classes
  list[#list + 1] = { v4 or M.ipv6(base), tonumber(bits), entry[2] }
end

local function class_of_v4(number)
  for i = 1, #v4_classes do
    local c = v4_classes[i]
    if v4_within(number, c[1], c[2]) then return c[3] end
  end
end

-- "metadata", "loopback", "private", "link-local", "multicast", "reserved", "unspecified"; nil for public addresses and names.
function M.class(address)
  address = M.normal(address)
  if metadata_names[address] then return "metadata" end
  if address == "localhost" or find(address, "%.localhost$") then return "loopback" end
  if find(address, "^[%d%.]+$") == nil and not find(address, ":", 1, true) then return nil end
  local v4 = M.ipv4(address)
  if v4 then return class_of_v4(v4) end
  local v6 = M.ipv6(address)
  if not v6 then return nil end
  for i = 1, #v6_classes do
    local c = v6_classes[i]
    if v6_within(v6, c[1], c[2]) then return c[3] end
  end
  local inner = mapped(v6)
  return inner and class_of_v4(inner)
end

function M.is_address(host) return M.ipv4(host) ~= nil or M.ipv6(host) ~= nil end

-- Where ordinary development goes: language sites, code hosts, model providers. Package registries and distribution
-- mirrors differ from place to place and are named by configuration: args.known_hosts, args.registries.
M.well_known = {
  "nodejs.org", "**.nodejs.org", "**.python.org", "python.org", "go.dev", "golang.org", "dl.google.com", "mirrors.kernel.org",
  "github.com", "api.github.com", "codeload.github.com", "**.githubusercontent.com", "gitlab.com", "bitbucket.org", "codeberg.org",
  "api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com", "api.mistral.ai", "api.groq.com", "openrouter.ai", "huggingface.co",
  "**.huggingface.co", "llm.caged.internal", "mcp.caged.internal", "storage.googleapis.com", "deno.land", "bun.sh", "esm.sh",
}
local known_names, known_patterns = {}, {}
for _, pattern in ipairs(M.well_known) do
  if find(pattern, "*", 1, true) then known_patterns[#known_patterns + 1] = pattern else known_names[pattern] = true end
end
function M.is_well_known(host)
  host = M.normal(host)
  return known_names[host] or M.match_any(known_patterns, host) ~= nil
end

return M
