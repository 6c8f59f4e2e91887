local packages = lib("packages")

local function words(text)
  local out = {}
  for w in string.gmatch(text, "%S+") do out[#out + 1] = w end
  return out
end
local function names(text)
  local i = packages.install(words(text))
  return i and i.manager .. " " .. table.concat(i.packages, ",") .. (i.registry and " @" .. i.registry or "")
end

test("what is installed", function(t)
  t.equal(packages.install({}), nil)
  t.equal(names("npm"), nil)
  t.equal(names("npm test x"), nil)
  t.equal(names("npm install"), "npm ")
  t.equal(names("npm i -D a@^1 @s/b@2 ./c"), "npm a,@s/b")
  t.equal(names("yarn add a --registry=http://r"), "npm a @http://r")
  t.equal(names("npx create-x my-app"), "npm create-x")
  t.equal(names("pip3.11 install -i http://r a==1 b[c]>=2 -r f.txt"), "pip a,b @http://r")
  t.equal(names("python3 -m pip install a"), "pip a")
  t.equal(names("uv pip install a"), "pip a")
  t.equal(names("cargo add serde --features derive"), "cargo serde")
  t.equal(names("apt-get install -y a b"), "apt a,b")
  t.equal(packages.install(words("pip install git+https://h.example/x")).sources[1], "git+https://h.example/x")
end)

test("names that imitate", function(t)
  t.equal(packages.looks_like("npm", "lodahs"), "lodash")
  t.equal(packages.looks_like("npm", "expresss"), nil)
  t.equal(packages.looks_like("npm", "exprss"), "express")
  t.equal(packages.looks_like("pip", "requsets"), "requests")
  t.equal(packages.looks_like("npm", "crossenv"), "cross-env")
  t.equal(packages.looks_like("npm", "react"), nil)
  t.equal(packages.looks_like("npm", "my-own-thing"), nil)
  t.equal(packages.looks_like("brew", "x"), nil)
  t.ok(packages.known_registry("npm", "https://npm.example/", { "npm.example" }))
  t.ok(not packages.known_registry("npm", "https://npm.example.evil.example/", { "npm.example" }))
  t.ok(packages.known_registry("npm", "https://r.corp/", { "r.corp" }))
end)
