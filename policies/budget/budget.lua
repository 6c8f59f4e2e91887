-- Keeps model calls and sandboxes inside what they may cost: per call, per session, by model, and at a rate.
local function money(micros) return string.format("$%.4f", micros / 1e6) end

local function listed(list, name)
  for i = 1, #list do
    local pattern = list[i]
    if pattern == name then return true end
    if string.sub(pattern, -1) == "*" and string.sub(name, 1, #pattern - 1) == string.sub(pattern, 1, -2) then return true end
  end
  return false
end

local function on_request(event, ctx)
  local args, session, state = ctx.args, ctx.session, ctx.state
  local model = event.model or ""
  if args.models and not listed(args.models, model) then
    return deny("the model '" .. model .. "' is not allowed", { rule = "model_not_allowed", advice = "use one of the allowed models" })
  end
  local worst = event.cost_max_micros or 0
  if worst < 0 then return deny("a call cannot cost less than nothing", { rule = "bad_estimate", advice = "report this: the gateway's estimate is negative" }) end
  if args.call_micros > 0 and worst > args.call_micros then
    return deny("the call may cost " .. money(worst) .. ", more than " .. money(args.call_micros), { rule = "call_too_dear", advice = "lower max_tokens or shorten the input" })
  end
  -- The meter reserves exactly; this refuses early and says so to people.
  local spent = session and session.spent_micros or 0
  local cap = session and session.budget_micros or 0
  if args.session_micros > 0 and (cap == 0 or args.session_micros < cap) then cap = args.session_micros end
  if cap > 0 and spent + worst > cap then
    return deny("the budget of " .. money(cap) .. " is nearly spent: " .. money(spent) .. " so far, this call may cost " .. money(worst),
      { rule = "budget", advice = "raise the budget of the sandbox, or lower max_tokens" })
  end
  if args.calls_per_minute > 0 then
    local minute = math.floor(event.time / 60)
    if state.minute ~= minute then state.minute, state.calls = minute, 0 end
    state.calls = state.calls + 1
    if state.calls > args.calls_per_minute then
      return deny(args.calls_per_minute .. " calls a minute are the limit", { rule = "rate", advice = "wait a minute" })
    end
  end
  if args.ask_above_micros > 0 and worst > args.ask_above_micros then
    return ask("the call may cost " .. money(worst), { rule = "dear_call", advice = "answer with `caged approvals`" })
  end
end

local function on_create(event, ctx)
  local args = ctx.args
  if args.require_budget and (event.budget_micros or 0) <= 0 then
    return deny("a sandbox needs a budget here", { rule = "no_budget", advice = "create it with budget: 5.00" })
  end
  if args.most_budget_micros > 0 and (event.budget_micros or 0) > args.most_budget_micros then
    return deny("a budget of " .. money(event.budget_micros) .. " is more than " .. money(args.most_budget_micros), { rule = "budget_too_high", advice = "ask for less" })
  end
end

local function on_budget(event, ctx)
  local percent = event.percent or 0
  if percent < 100 then return annotate(string.format("%d %% of the budget is spent", math.floor(percent))) end
  if ctx.args.at_cap == "pause" then return pause("the budget is spent", { rule = "budget", advice = "raise it to go on" }) end
  return kill("the budget is spent", { rule = "budget", advice = "create a new sandbox from the last snapshot" })
end

local function micros(description) return { type = "integer", minimum = 0, default = 0, description = description } end

return {
  name = "budget",
  version = "1.0.0",
  requires_schema = 1,
  description = "Limits on what model calls and sandboxes may cost",
  args = {
    type = "object",
    additionalProperties = false,
    properties = {
      call_micros = micros("most one call may cost at worst, in micro-dollars; 0 = no limit"),
      session_micros = micros("most a session may spend; 0 = only the sandbox's budget"),
      ask_above_micros = micros("calls that may cost more wait for a human; 0 = never"),
      most_budget_micros = micros("highest budget a sandbox may be made with; 0 = any"),
      calls_per_minute = micros("calls a minute and session; 0 = any"),
      models = { type = "array", items = { type = "string" }, description = "models that may be called; \"claude-*\" fits a beginning" },
      require_budget = { type = "boolean", default = false, description = "refuse sandboxes without a budget" },
      at_cap = { type = "string", enum = { "kill", "pause" }, default = "kill", description = "what happens at 100 %" },
    },
  },
  gate = { llm_request = on_request, ["sandbox.create"] = on_create },
  on = { budget = on_budget },
}
