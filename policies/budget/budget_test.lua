test("no limits, no numbers: allowed; nonsense: refused", function(t)
  t.kind(t.session().gate("llm_request", {}), "allow")
  t.rule(t.session().gate("llm_request", { cost_max_micros = -1 }), "bad_estimate")
end)

test("a call, a session, a budget", function(t)
  local s = t.session { args = { call_micros = 1000 }, session = { spent_micros = 0, budget_micros = 1500 } }
  t.kind(s.gate("llm_request", { model = "m", cost_max_micros = 1000 }), "allow")
  t.rule(s.gate("llm_request", { model = "m", cost_max_micros = 1001 }), "call_too_dear")
  s = t.session { session = { spent_micros = 900, budget_micros = 1500 } }
  t.kind(s.gate("llm_request", { cost_max_micros = 600 }), "allow")
  t.rule(s.gate("llm_request", { cost_max_micros = 601 }), "budget")
  s = t.session { args = { session_micros = 1000 }, session = { spent_micros = 900, budget_micros = 1500 } }
  t.rule(s.gate("llm_request", { cost_max_micros = 101 }), "budget")
end)

test("models, rates, questions", function(t)
  local s = t.session { args = { models = { "claude-*", "gpt-5" }, calls_per_minute = 2, ask_above_micros = 500 } }
  t.rule(s.gate("llm_request", { model = "other" }), "model_not_allowed")
  t.rule(s.gate("llm_request", { model = "gpt-5-pro" }), "model_not_allowed")
  t.kind(s.gate("llm_request", { model = "claude-x" }, { after = 60 }), "allow")
  t.kind(s.gate("llm_request", { model = "gpt-5", cost_max_micros = 501 }), "ask")
  t.rule(s.gate("llm_request", { model = "gpt-5" }), "rate")
  t.kind(s.gate("llm_request", { model = "gpt-5" }, { after = 60 }), "allow")
end)

test("sandboxes and marks", function(t)
  local s = t.session { args = { require_budget = true, most_budget_micros = 5000000 } }
  t.rule(s.gate("sandbox.create", {}), "no_budget")
  t.rule(s.gate("sandbox.create", { budget_micros = 5000001 }), "budget_too_high")
  t.kind(s.gate("sandbox.create", { budget_micros = 5000000 }), "allow")
  t.kind(s.fact("budget", { percent = 80.0 }), "annotate")
  t.kind(s.fact("budget", { percent = 100.0 }), "kill")
  t.kind(t.session({ args = { at_cap = "pause" } }).fact("budget", { percent = 100 }), "pause")
end)
