-- What a command really runs: shell text or an argument vector taken apart into steps, through pipelines, wrappers,
-- substitutions, groups, here-documents, `sh -c`, eval, and literal base64.
--
-- A step: { name, argv, via = {wrapper = true}, dynamic = name is not known, from = steps that feed its standard input,
-- runs = steps whose output it executes as code, input = its standard input as text, code = program text given on the
-- command line, language, script = file it executes, redirects, assigns, as_root, arg_steps = steps inside its substitutions }
local M = {}

local find, sub, match, gsub, lower = string.find, string.sub, string.match, string.gsub, string.lower

local max_steps, max_depth = 200, 10

local function set(text)
  local out = {}
  for word in string.gmatch(text, "%S+") do out[word] = true end
  return out
end

M.shells = set "sh bash dash zsh ksh ash mksh fish csh tcsh rbash"
M.downloaders = set "curl wget fetch aria2c axel lwp-request lwp-download http https httpie lynx links w3m ftp tftp scp sftp rsync nc ncat netcat socat telnet gh gsutil"
M.interpreters = {
  python = { flag = "c", language = "python" }, pypy = { flag = "c", language = "python" }, perl = { flag = "eE", language = "perl" },
  ruby = { flag = "e", language = "ruby" }, node = { flag = "ep", language = "javascript" }, nodejs = { flag = "ep", language = "javascript" },
  bun = { flag = "e", language = "javascript" }, deno = { flag = "", language = "javascript" }, php = { flag = "r", language = "php" },
  lua = { flag = "e", language = "lua" }, luajit = { flag = "e", language = "lua" }, osascript = { flag = "e", language = "applescript" },
  tclsh = { flag = "", language = "tcl" }, awk = { flag = "", language = "awk" }, gawk = { flag = "", language = "awk" },
}

-- Programs that run another: flags with a value, and words of their own before the program.
local wrappers = {
  sudo = { values = set "-u -g -h -p -C -D -R -T -U -r -t --user --group --host --chdir", root = true }, doas = { values = set "-u -C", root = true },
  pkexec = { values = set "--user", root = true }, env = { values = set "-u -C --unset --chdir", assigns = true }, nice = { values = set "-n --adjustment" },
  ionice = { values = set "-c -n -p" }, timeout = { values = set "-k -s --signal --kill-after", own = 1 }, nohup = {}, setsid = {}, time = { values = set "-f -o" },
  stdbuf = { values = set "-i -o -e" }, command = {}, builtin = {}, exec = { values = set "-a" }, chroot = { own = 1 }, busybox = {}, toybox = {},
  xargs = { values = set "-I -n -P -d -L -E -s -a -i --max-args --max-procs --delimiter --arg-file --replace" }, chrt = { own = 1 }, taskset = { own = 1 },
  fakeroot = {}, unbuffer = {}, strace = { values = set "-o -e -s -u" }, ltrace = { values = set "-o -e" }, watch = { values = set "-n --interval" },
  parallel = { values = set "-j -a --jobs" }, proxychains = {}, proxychains4 = {}, torsocks = {}, caffeinate = {}, xvfb_run = {}, cpulimit = { values = set "-l" },
  unshare = { values = set "-S -G -R -w" }, nsenter = { values = set "-t -S -G --target" }, prlimit = {}, setpriv = { values = set "--reuid --regid --groups" },
  runuser = { values = set "-u -g" }, softlimit = {}, catchsegv = {}, eatmydata = {}, firejail = {}, bwrap = nil,
}
wrappers["xvfb-run"] = { values = set "-s -n" }
local two_word = { poetry = "run", pipenv = "run", uv = "run", bundle = "exec", hatch = "run", pdm = "run", rye = "run", mise = "exec", direnv = "exec" }

function M.base(word)
  local name = lower(match(word, "[^/]+$") or word)
  local plain = match(name, "^(python)[%d.]*$") or match(name, "^(perl)[%d.]+$") or match(name, "^(ruby)[%d.]+$") or match(name, "^(php)[%d.]+$")
    or match(name, "^(lua)[%d.]+$") or match(name, "^(pip)[%d.]+$") or match(name, "^(node)%d+$")
  return plain or name
end

local walk, add_step, walk_text

-- Takes wrappers off the front. Returns the rest, what was taken off, how many words, and whether one gives root.
local function unwrap(argv)
  local via, offset, root
  for _ = 1, 12 do
    if not argv[1] then break end
    local name = M.base(argv[1])
    local wrapper = wrappers[name]
    local i = 2
    if two_word[name] == argv[2] and argv[2] then
      wrapper, i = {}, 3
    elseif not wrapper then
      break
    end
    via = via or {}
    via[name] = true
    root = root or wrapper.root
    local own = wrapper.own or 0
    local split
    while argv[i] do
      local word = argv[i]
      if word == "--" then
        i = i + 1
        break
      elseif name == "env" and (word == "-S" or word == "--split-string" or find(word, "^%-S") or find(word, "^%-%-split%-string=")) then
        split = match(word, "^%-S(.+)$") or match(word, "^%-%-split%-string=(.+)$") or argv[i + 1] or ""
        break
      elseif (wrapper.assigns or wrapper.root) and find(word, "^[%a_][%w_]*=") then
        i = i + 1
      elseif wrapper.values and wrapper.values[word] then
        i = i + 2
      elseif #word > 1 and sub(word, 1, 1) == "-" then
        if name == "command" and (word == "-v" or word == "-V") then return argv, via, 0, root end
        i = i + 1
      elseif own > 0 then
        own = own - 1
        i = i + 1
      else
        break
      end
    end
    local rest = {}
    if split then
      for word in string.gmatch(split, "%S+") do rest[#rest + 1] = word end
    else
      for k = i, #argv do rest[#rest + 1] = argv[k] end
    end
    if #rest == 0 then break end
    offset = (offset or 0) + i - 1
    argv = rest
  end
  return argv, via, offset or 0, root
end

local function join(a, b)
  if not a or #a == 0 then return b end
  if not b or #b == 0 then return a end
  local out = {}
  for i = 1, #a do out[#out + 1] = a[i] end
  for i = 1, #b do out[#out + 1] = b[i] end
  return out
end

-- The steps whose output stands in word `place` of the command (after `offset` words were taken off).
local function steps_in_word(subs, place, offset)
  local out
  for _, s in ipairs(subs or {}) do
    if s.word - offset == place then out = join(out, s.steps) end
  end
  return out
end

-- A shell: finds the code it runs.
local function enter_shell(ctx, step, subs, offset, depth)
  local argv, i = step.argv, 2
  while argv[i] do
    local word = argv[i]
    if word == "-c" or find(word, "^%-%a*c%a*$") then
      local k = i + 1
      while argv[k] and find(argv[k], "^[-+]%a+$") do k = k + 1 end
      step.code, step.language = argv[k] or "", "shell"
      step.runs = join(step.runs, steps_in_word(subs, k, offset))
      if step.via and step.via.xargs then step.runs = join(step.runs, step.from) end
      walk_text(ctx, step.code, depth + 1, step.from)
      return
    elseif word == "-o" or word == "-O" or word == "+o" or word == "--rcfile" or word == "--init-file" then
      i = i + 2
    elseif word == "-s" or word == "-" then
      argv = { argv[1] }
      break
    elseif find(word, "^[-+]") then
      i = i + 1
    elseif word == "/dev/stdin" or word == "/proc/self/fd/0" or word == "/dev/fd/0" then
      break
    else
      step.script = word
      step.runs = join(step.runs, steps_in_word(subs, i, offset))
      return
    end
  end
  step.reads_code = true
  step.language = "shell"
  step.runs = join(step.runs, step.from)
  for _, r in ipairs(step.redirects or {}) do
    if r.op == "<" and (r.fd or 0) == 0 then
      step.script = r.target
      for _, s in ipairs(subs or {}) do
        if s.kind == "<(" then step.runs = join(step.runs, s.steps) end
      end
    elseif r.op == "<<<" or r.op == "<<" then
      for _, s in ipairs(subs or {}) do step.runs = join(step.runs, s.steps) end
    end
  end
  if step.input then walk_text(ctx, step.input, depth + 1) end
end

-- python -c, perl -e, node -e …, a script file, or code from standard input.
local function enter_interpreter(step, how, subs, offset)
  local argv, i, modules = step.argv, 2, nil
  step.language = how.language
  if how.language == "awk" then
    step.code = argv[2]
    return
  end
  while argv[i] do
    local word = argv[i]
    local letters = match(word, "^%-(%a+)$")
    if (how.language == "perl" and find(word, "^%-[MIm].")) or (how.language == "ruby" and find(word, "^%-r.")) then
      modules = (modules or "") .. word .. "\n"
      i = i + 1
    elseif word == "--eval" or word == "--print" or (letters and how.flag ~= "" and find(letters, "[" .. how.flag .. "]") and not (how.language == "python" and sub(letters, 1, 1) == "m")) then
      step.code = (step.code and step.code .. "\n" or "") .. (argv[i + 1] or "")
      step.runs = join(step.runs, steps_in_word(subs, i + 1, offset))
      i = i + 2
      if modules then step.code, modules = modules .. step.code, nil end
      if how.language == "python" then return end
    elseif word == "-m" and how.language == "python" then
      step.module = argv[i + 1]
      return
    elseif word == "-" then
      break
    elseif sub(word, 1, 1) == "-" then
      i = i + 1
    else
      if not step.code then
        step.script = word
        step.runs = join(step.runs, steps_in_word(subs, i, offset))
      end
      return
    end
  end
  if step.code then return end
  step.reads_code = true
  step.runs = join(step.runs, step.from)
  step.code = step.input
end

local function enter(ctx, step, subs, offset, depth)
  local name, argv = step.name, step.argv
  if M.shells[name] then return enter_shell(ctx, step, subs, offset, depth) end
  local how = M.interpreters[name]
  if how then return enter_interpreter(step, how, subs, offset) end
  if name == "eval" then
    step.language, step.code = "shell", table.concat(argv, " ", 2)
    for _, s in ipairs(subs or {}) do step.runs = join(step.runs, s.steps) end
    return walk_text(ctx, step.code, depth + 1, step.from)
  elseif name == "source" or name == "." then
    step.script = argv[2]
    step.runs = join(step.runs, steps_in_word(subs, 2, offset))
    if argv[2] == "/dev/stdin" then step.runs = join(step.runs, step.from) end
  elseif name == "su" or name == "script" or name == "flock" or name == "ssh" or name == "at" or name == "batch" then
    for i = 2, #argv do
      if (argv[i] == "-c" or argv[i] == "--command") and argv[i + 1] then walk_text(ctx, argv[i + 1], depth + 1) end
    end
    if name == "flock" and argv[3] and sub(argv[3], 1, 1) ~= "-" then add_step(ctx, { table.unpack(argv, 3, 99) }, {}, depth + 1) end
    if (name == "at" or name == "batch") and step.input then walk_text(ctx, step.input, depth + 1) end
  elseif name == "find" or name == "fd" or name == "fdfind" then
    for i = 2, #argv do
      if argv[i] == "-exec" or argv[i] == "-execdir" or argv[i] == "-ok" or argv[i] == "-x" or argv[i] == "-X" then
        local inner = {}
        for k = i + 1, #argv do
          if argv[k] == ";" or argv[k] == "+" then break end
          inner[#inner + 1] = argv[k]
        end
        if #inner > 0 and #inner < 100 then add_step(ctx, inner, {}, depth + 1) end
      end
    end
  elseif name == "make" and step.input and (argv[2] == "-f" and argv[3] == "-") then
    walk_text(ctx, step.input, depth + 1)
  elseif name == "trap" and argv[2] then
    walk_text(ctx, argv[2], depth + 1)
  end
end

-- `how`: from, subs, input, redirects, assigns, dynamic (of the first word).
function add_step(ctx, argv, how, depth)
  if #ctx.steps >= max_steps or depth > max_depth then
    ctx.incomplete = true
    return nil
  end
  local rest, via, offset, root = unwrap(argv)
  local first = rest[1] or ""
  local step = {
    name = M.base(first), argv = rest, via = via, as_root = root, from = how.from, input = how.input, redirects = how.redirects,
    assigns = how.assigns, dynamic = how.dynamic and how.dynamic[1 + offset] or nil,
  }
  ctx.steps[#ctx.steps + 1] = step
  for _, s in ipairs(how.subs or {}) do step.arg_steps = join(step.arg_steps, s.steps) end
  -- A program whose name only the running shell knows, fed by a pipe, may be a shell.
  if step.dynamic then step.runs = join(how.from, steps_in_word(how.subs, 1, offset)) end
  if via and via.sudo and (rest[1] == "-s" or rest[1] == "-i") then step.name = "sh" end
  enter(ctx, step, how.subs, offset, depth)
  return step
end

function walk(ctx, script, depth, from)
  if depth > max_depth then
    ctx.incomplete = true
    return
  end
  if not script.complete then ctx.incomplete = true end
  local commands = script.commands
  local chain -- steps of the pipeline so far
  for i = 1, #commands do
    local c = commands[i]
    if c.op ~= "|" and c.op ~= "|&" then chain = nil end
    local feed = chain or (i == 1 and from or nil) or from
    local begin = #ctx.steps
    for _, s in ipairs(c.subs or {}) do
      local sub_begin = #ctx.steps
      walk(ctx, s.script, depth + 1)
      s.steps = {}
      for k = sub_begin + 1, #ctx.steps do s.steps[#s.steps + 1] = ctx.steps[k] end
    end
    if c.group then
      walk(ctx, c.group, depth + 1, feed)
    end
    if c.argv[1] and not c.group then
      add_step(ctx, c.argv, { from = feed, subs = c.subs, input = c.input, redirects = c.redirects, assigns = c.assigns, dynamic = c.dynamic }, depth)
    elseif c.redirects and not c.argv[1] then
      add_step(ctx, { "" }, { from = feed, redirects = c.redirects }, depth)
    end
    local made = {}
    for k = begin + 1, #ctx.steps do made[#made + 1] = ctx.steps[k] end
    chain = join(chain, made)
  end
end

function walk_text(ctx, text, depth, from)
  if depth > max_depth then
    ctx.incomplete = true
    return
  end
  walk(ctx, shell.parse(text), depth, from)
end

-- Parsed texts are asked about again and again; the newest are kept. Callers must not change what they get.
local cache, cached = {}, 0
local function remember(key, ctx)
  if #key > 4096 then return end
  if cached >= 200 then cache, cached = {}, 0 end
  cache[key], cached = ctx, cached + 1
end

-- Shell text → { steps = {…}, incomplete = true when it could not be followed to the end }
function M.analyse(text)
  local known = cache[text]
  if known then return known end
  local ctx = { steps = {} }
  walk_text(ctx, text, 0)
  remember(text, ctx)
  return ctx
end

-- The same for an argument vector (a table or an event's list).
function M.analyse_argv(argv)
  local ctx = { steps = {} }
  local words = {}
  for i = 1, #argv do
    if i > 2000 then
      ctx.incomplete = true
      break
    end
    words[i] = argv[i]
  end
  if words[1] then add_step(ctx, words, {}, 0) end
  return ctx
end

-- The steps of a `command` event, whichever way it tells its command.
function M.of_event(event)
  local argv = event.argv
  if argv and #argv > 0 then return M.analyse_argv(argv) end
  if event.command then return M.analyse(event.command) end
  return { steps = {} }
end

-- Where a downloader writes to: file name or nil, and the URL or nil.
function M.download(step)
  if step.name ~= "curl" and step.name ~= "wget" and step.name ~= "aria2c" and step.name ~= "axel" and step.name ~= "fetch" then return nil end
  local url, file, remote
  local argv, i = step.argv, 2
  while argv[i] do
    local word = argv[i]
    if word == "-o" or word == "--output" or (word == "-O" or word == "--output-document") and step.name ~= "curl" then
      file = argv[i + 1]
      i = i + 1
    elseif step.name == "curl" and (word == "-O" or word == "--remote-name" or find(word, "^%-%a*O%a*$")) then
      remote = true
    elseif step.name == "curl" and find(word, "^%-%a*o$") then
      file = argv[i + 1]
      i = i + 1
    elseif step.name == "wget" and find(word, "^%-%a*O%-$") then
      file = "-"
    elseif step.name == "wget" and find(word, "^%-%a*O$") then
      file = argv[i + 1]
      i = i + 1
    elseif find(word, "^%-%-output=") or find(word, "^%-%-output%-document=") then
      file = match(word, "=(.*)$")
    elseif step.name == "wget" and find(word, "^%-O.") then
      file = sub(word, 3)
    elseif find(word, "^%-[HXdFuAebTPmxYyzUQ]$") or word == "--header" or word == "--data" or word == "--max-time" or word == "--retry" or word == "--user" then
      i = i + 1
    elseif find(word, "://", 1, true) or (sub(word, 1, 1) ~= "-" and find(word, "^[%w.-]+%.%a%a+[/:]?")) then
      url = url or word
    end
    i = i + 1
  end
  for _, r in ipairs(step.redirects or {}) do
    if (r.op == ">" or r.op == ">>" or r.op == ">|") and (r.fd or 1) == 1 then file = r.target end
  end
  if not file and url and (remote or step.name ~= "curl") then file = match(gsub(url, "[?#].*$", ""), "/([^/]+)$") end
  return file ~= "-" and file or nil, url
end

return M
