-- Decides about commands before they start: shapes that are refused or asked about, programs that are allowed at all.
local command = require "lib.command"
local findings = require "lib.findings"
local paths = require "lib.paths"

local function set_of(list)
  local out = {}
  for i = 1, #list do out[list[i]] = true end
  return out
end

-- With args.allow: every program of the command must be named, and nothing may stay unknown.
local function check_allowed(analysis, allow)
  local allowed = set_of(allow)
  if analysis.incomplete then return deny("the command cannot be read to its end", { rule = "unreadable", advice = "write it more simply: no open quotes, no deep nesting" }) end
  for _, step in ipairs(analysis.steps) do
    local word = step.argv[1] or ""
    if step.dynamic then
      return deny("which program runs is known only when it runs: " .. word, { rule = "dynamic_program", advice = "name the program itself" })
    end
    if word ~= "" and not (allowed[word] or (allowed[step.name] and not string.find(word, "/", 1, true))) then
      return deny(step.name .. " is not among the allowed programs", { rule = "program_not_allowed", advice = "add " .. step.name .. " to allow, if it is meant" })
    end
    for wrapper in pairs(step.via or {}) do
      if not allowed[wrapper] then return deny(wrapper .. " is not among the allowed programs", { rule = "program_not_allowed", advice = "call " .. step.name .. " itself" }) end
    end
    -- an interpreter that takes code is every program at once
    if step.code or step.reads_code then
      if not allowed[step.name .. ":code"] then
        return deny(step.name .. " would run code that the list says nothing about", { rule = "code_not_allowed", advice = "put it into a file, or allow \"" .. step.name .. ":code\"" })
      end
    end
    if step.assigns and (step.assigns.LD_PRELOAD or step.assigns.PATH or step.assigns.GIT_SSH_COMMAND or step.assigns.BASH_ENV) then
      return deny("the command changes how programs are found", { rule = "environment", advice = "leave PATH, LD_PRELOAD, BASH_ENV alone" })
    end
  end
end

local function on_command(event, ctx)
  local args = ctx.args
  local analysis = command.of_event(event)
  if event.truncated then return deny("the command is too long to be looked at", { rule = "too_long", advice = "put it into a file" }) end
  if args.allow then
    local no = check_allowed(analysis, args.allow)
    if no then return no end
  end
  if args.deny_programs then
    local denied = set_of(args.deny_programs)
    for _, step in ipairs(analysis.steps) do
      if denied[step.name] then return deny(step.name .. " is not allowed here", { rule = "program_denied", advice = "take " .. step.name .. " out of deny_programs" }) end
    end
  end
  local found = findings.of(analysis, args)
  if not found then return nil end
  local deny_rules, ask_rules = set_of(args.deny), set_of(args.ask)
  local question
  for _, f in ipairs(found) do
    if deny_rules[f.rule] then return deny(f.detail, { rule = f.rule, advice = "take " .. f.rule .. " out of deny if it is meant" }) end
    if ask_rules[f.rule] then question = question or ask(f.detail, { rule = f.rule, advice = "answer with `caged approvals`" }) end
  end
  return question
end

-- The same judgement for files through the API: nobody writes over the system or reads keys by that way.
local function on_file_op(event, ctx)
  local path = event.path and paths.normal(event.path)
  if not path or not ctx.args.guard_files then return nil end
  if event.operation == "read" then
    local kind = paths.secret(path)
    if kind == "shadow" or kind == "key" then return deny(path .. " holds secrets", { rule = "secret_read", advice = "set guard_files = false if it is meant" }) end
  elseif event.operation ~= "list" and event.operation ~= "search" then
    local target = event.target and paths.normal(event.target) or path
    if paths.is_system_binary(path) or paths.is_system_binary(target) then
      return deny(path .. " belongs to the system", { rule = "system_files", advice = "write into the workspace" })
    end
  end
end

local rules = { type = "array", items = { type = "string" } }

return {
  name = "command",
  version = "1.0.0",
  requires_schema = 1,
  description = "Refuses dangerous commands and, where a list is given, every program that is not on it",
  args = {
    type = "object",
    additionalProperties = false,
    properties = {
      deny = { type = "array", items = { type = "string" }, default = { "reverse_shell", "crypto_miner", "host_namespace", "tampering" }, description = "rules of lib/findings that refuse" },
      ask = { type = "array", items = { type = "string" }, default = {}, description = "rules that wait for a human" },
      allow = { type = "array", items = { type = "string" }, description = "programs that may run; absent = all. \"python:code\" allows python -c" },
      deny_programs = rules,
      registries = rules,
      guard_files = { type = "boolean", default = true, description = "also guard system programs and keys against the file API" },
    },
  },
  gate = { command = on_command, file_op = on_file_op },
}
