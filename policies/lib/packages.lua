-- Package managers: what a command installs, from where, and names that look like well-known ones but are not.
local edits = require "lib.edits"

local M = {}
local find, sub, match, gsub, lower = string.find, string.sub, string.match, string.gsub, string.lower

local function set(text)
  local out = {}
  for word in string.gmatch(text, "%S+") do out[word] = true end
  return out
end

M.well_known = {
  npm = set [[preact lodash-es koa-router chai-http react react-dom vue angular svelte next nuxt express koa fastify lodash underscore axios request chalk commander yargs
    typescript webpack rollup vite esbuild babel eslint prettier jest mocha chai vitest cypress playwright puppeteer moment dayjs date-fns uuid
    dotenv cors body-parser mongoose sequelize prisma redis ioredis socket.io ws graphql apollo-server rxjs redux zustand jquery bootstrap
    tailwindcss postcss autoprefixer sass less styled-components classnames three d3 electron nodemon pm2 ts-node cross-env rimraf glob minimist
    colors debug async bluebird inquirer ora fs-extra semver node-fetch passport jsonwebtoken bcrypt helmet morgan winston pino zod joi ajv
    husky lint-staged turbo nx lerna vue-router react-router react-router-dom formik web3 ethers openai discord.js event-stream]],
  pip = set [[numpy pandas scipy matplotlib seaborn scikit-learn tensorflow torch torchvision keras transformers requests urllib3 flask django
    fastapi uvicorn gunicorn starlette pydantic sqlalchemy alembic psycopg2 psycopg2-binary pymongo redis celery boto3 botocore awscli pillow
    opencv-python beautifulsoup4 lxml scrapy selenium playwright pytest tox nox coverage mypy black flake8 pylint ruff isort pre-commit click typer
    rich tqdm jinja2 markupsafe werkzeug pyyaml toml cryptography pyjwt paramiko httpx aiohttp attrs setuptools wheel pip poetry virtualenv
    jupyter notebook ipython colorama python-dateutil pytz six certifi idna charset-normalizer openai anthropic langchain tiktoken streamlit]],
  cargo = set [[serde serde_json tokio reqwest clap rand log env_logger anyhow thiserror regex chrono hyper axum actix-web futures async-trait
    tracing rayon itertools lazy_static once_cell bitflags libc syn quote proc-macro2 uuid sqlx diesel rustls tonic prost criterion tempfile]],
  gem = set [[rails rake bundler rspec sinatra puma nokogiri devise sidekiq rubocop activesupport activerecord rack json minitest pg mysql2]],
}

-- Well-known names by their letters alone: "date-fns" and "datefns" are the same to a hurried eye.
M.plain = {}
for manager, names in pairs(M.well_known) do
  local plain = {}
  for name in pairs(names) do
    if #name >= 4 then plain[gsub(name, "[-_.]", "")] = name end
  end
  M.plain[manager] = plain
end

-- The well-known name that `name` is one slip away from; nil when it is itself known, or like none.
function M.looks_like(manager, name)
  local known = M.well_known[manager]
  if not known then return nil end
  name = lower(name)
  if manager == "pip" then name = gsub(name, "[_.]+", "-") end
  if known[name] or #name < 4 or sub(name, 1, 1) == "@" then return nil end
  local plain = gsub(name, "[-_.]", "")
  if M.plain[manager][plain] then return M.plain[manager][plain] end
  local first, last, length = sub(name, 1, 1), sub(name, -1), #name
  for other in pairs(known) do
    local gap = #other - length
    if gap <= 1 and gap >= -1 and #other >= 5 and (sub(other, 1, 1) == first or sub(other, -1) == last) then
      if edits.distance(name, other, 1) == 1 then
        -- a plural or a version is a usual name for something else; a letter swapped, doubled or dropped is not
        if not (name == other .. "s" or other == name .. "s" or find(name, "%d$") or find(other, "%d$")) then return other end
      end
    end
  end
end

-- Flags that name a registry, and flags that take a value.
local registry_flags = set "--registry --index-url -i --extra-index-url --index --default-index --find-links -f --source"
local value_flags = set [[-r --requirement -c --constraint -t --target --prefix --cwd -C --dir --filter -w --workspace --python -p
  --features --version --branch --tag --rev --path --git --root --loglevel --config --cache-dir --timeout --retries --save-prefix -o --option]]

-- Sources every machine has; its registries come from args.registries.
local known_registries = { cargo = { "github.com" }, go = { "direct" } }
function M.known_registry(manager, url, more)
  local host = lower(match(url, "^%a[%w+.-]*://[^/@]*@([^/:]+)") or match(url, "^%a[%w+.-]*://([^/:]+)") or url)
  for _, known in ipairs(known_registries[manager] or {}) do
    if host == known then return true, host end
  end
  for _, known in ipairs(more or {}) do
    if host == known then return true, host end
  end
  return false, host
end

local installers = {
  npm = { "npm", set "install i add in ins exec x" }, pnpm = { "npm", set "install i add dlx" }, yarn = { "npm", set "add dlx" },
  bun = { "npm", set "install add i x" }, pip = { "pip", set "install download" }, uv = { "pip", set "add install" },
  poetry = { "pip", set "add" }, pipx = { "pip", set "install run" }, cargo = { "cargo", set "install add" }, gem = { "gem", set "install" },
  go = { "go", set "get install" }, apt = { "apt", set "install" }, ["apt-get"] = { "apt", set "install" }, npx = { "npm", nil }, uvx = { "pip", nil },
}

-- "a@^1.2" → "a"; "b==1.0" → "b"; "@scope/c@1" → "@scope/c"
local function plain_name(manager, spec)
  if manager == "pip" then return (gsub(spec, "[%[<>=!~; ].*$", "")) end
  if sub(spec, 1, 1) == "@" then return match(spec, "^(@[^@]+)") end
  return (gsub(spec, "@.*$", ""))
end

-- What a command line installs: {manager, packages = {names}, sources = {urls}, registry = url|nil}; nil when nothing.
function M.install(argv)
  local name = match(argv[1] or "", "[^/]+$") or ""
  local first = 2
  name = gsub(name, "^pip[%d.]+$", "pip")
  if find(name, "^python[%d.]*$") and argv[2] == "-m" and argv[3] == "pip" then name, first = "pip", 4 end
  if name == "uv" and argv[2] == "pip" then first = 3 end
  if name == "yarn" and argv[2] == "global" then first = 3 end
  local how = installers[name]
  if not how then return nil end
  local out = { manager = how[1], packages = {}, sources = {} }
  local started = how[2] == nil
  local i = first
  while i <= #argv do
    local word = argv[i]
    local flag, value = match(word, "^(%-%-?[%w-]+)=(.+)$")
    if flag and registry_flags[flag] then
      out.registry = value
    elseif registry_flags[word] and (word ~= "-f" or how[1] == "pip") and (word ~= "-i" or how[1] == "pip") then
      out.registry = argv[i + 1]
      i = i + 1
    elseif value_flags[word] then
      if (word == "--git") and argv[i + 1] then out.sources[#out.sources + 1] = argv[i + 1] end
      i = i + 1
    elseif sub(word, 1, 1) == "-" then
      -- a switch
    elseif not started then
      if not how[2][word] then return nil end
      started = true
    elseif find(word, "://", 1, true) or find(word, "^git[+@]") or find(word, "%.tgz$") or find(word, "%.whl$") or find(word, "%.deb$") or find(word, "^github:") then
      if find(word, "://", 1, true) or find(word, "^git[+@]") or find(word, "^github:") then out.sources[#out.sources + 1] = word end
    elseif find(word, "^[./~]") then
      -- a folder of the project
    else
      out.packages[#out.packages + 1] = plain_name(how[1], word)
      if name == "npx" or name == "uvx" or word == "exec" then break end
    end
    i = i + 1
  end
  return started and out or nil
end

return M
