-- Deductions with memory: points by rule, a cap for repeats, one deduction for what is seen twice in a short time.
local M = {}

-- Each rule: points, cap (most a session can lose by it), again (seconds in which the same is not counted twice), what is
-- said and what can be done. Where the two documented scales differ, policies/README.md says which was taken and why.
M.rules = {
  many_deletes = { points = 5, cap = 15, again = 10, says = "many files deleted at once", advice = "compare with the last snapshot: `caged diff`, restore if it was not meant" },
  destructive_delete = { points = 15, cap = 30, again = 60, says = "a command that destroys what it should not touch", advice = "check the workspace; restore the last snapshot" },
  unknown_registry = { points = 5, cap = 15, again = 600, says = "packages from an unknown registry", advice = "use the usual registry, or add the host to args.registries" },
  unlocked_package = { points = 5, cap = 10, again = 600, says = "a package outside the lock file", advice = "add it to the project deliberately, with its lock file" },
  typosquat = { points = 10, cap = 20, again = 600, says = "a package whose name imitates a well-known one", advice = "check the name; remove the package" },
  large_download = { points = 5, cap = 10, again = 60, says = "a download of more than 100 MB", advice = "check what was fetched and from where" },
  outer_setting = { points = 5, cap = 10, again = 600, says = "settings outside the project changed", advice = "review the file; keep settings inside the project" },
  unknown_host = { points = 10, cap = 20, again = 3600, says = "a connection to an unknown host", advice = "add the host to known_hosts or to allowed_hosts if it is meant" },
  denied_egress = { points = 5, cap = 15, again = 600, says = "a connection that the network policy refused", advice = "allow the host if it is needed; otherwise see what wanted it" },
  inner_address = { points = 15, cap = 30, again = 600, says = "an attempt to reach a private or metadata address", advice = "nothing inside a sandbox should look for the host's network" },
  root_process = { points = 10, cap = 10, again = 60, says = "a process made itself root", advice = "work as an ordinary user" },
  secret_variable = { points = 10, cap = 20, again = 60, says = "a secret variable was read out", advice = "rotate it if it was real" },
  secret_read = { points = 15, cap = 30, again = 60, says = "a file that holds secrets was read", advice = "rotate what it held" },
  keys_made = { points = 10, cap = 10, again = 60, says = "keys or certificates were made", advice = "check where they are used" },
  account_files = { points = 20, cap = 20, again = 60, says = "the account files were read", advice = "see which program wanted them" },
  persistence = { points = 15, cap = 30, again = 60, says = "something was arranged to run later by itself", advice = "remove the entry" },
  setuid = { points = 20, cap = 40, again = 60, says = "a program was given the rights of another user", advice = "remove the bit" },
  cover_tracks = { points = 10, cap = 20, again = 60, says = "traces were removed", advice = "read the session's replay: it keeps them" },
  tampering = { points = 20, cap = 40, again = 60, says = "an attempt to get around the observer", advice = "treat the session as hostile" },
  host_namespace = { points = 20, cap = 40, again = 60, says = "an attempt to enter the host's namespaces", advice = "treat the session as hostile" },
  download_then_run = { points = 20, cap = 40, again = 60, says = "a downloaded file was run", advice = "read the file first, check its signature" },
  hidden_code = { points = 20, cap = 40, again = 60, says = "code was hidden and then run", advice = "decode it and read it" },
  pipe_to_shell = { points = 25, cap = 50, again = 60, says = "downloaded text was run without a look", advice = "download, read, then run" },
  exfiltration = { points = 30, cap = 60, again = 60, says = "secrets or bulk data left the sandbox", advice = "rotate the secrets; look at the connection in the replay" },
  system_files = { points = 30, cap = 60, again = 60, says = "system files were changed", advice = "restore a snapshot; install through the package manager" },
  reverse_shell = { points = 40, cap = 80, again = 60, says = "a shell was handed to somebody outside", advice = "destroy the sandbox" },
  crypto_miner = { points = 40, cap = 80, again = 60, says = "a crypto-currency miner", advice = "destroy the sandbox" },
  blind_spot = { points = 5, cap = 10, again = 60, says = "a policy could not look at an event", advice = "see the policy_error events" },
}

local floor = math.floor
local max_remembered = 200

-- The deduction for what was seen, or nil when its cap is reached or it was counted just now; a second value pauses or kills.
-- `detail` says what exactly, `subject` tells different cases of one rule apart, `points` replaces the rule's.
function M.hit(event, ctx, rule, detail, subject, points)
  local r, state = M.rules[rule], ctx.state
  local own = ctx.args.rules and ctx.args.rules[rule]
  if own and own.enabled == false then return nil end
  points = own and own.points or points or r.points
  local cap = own and own.cap or r.cap
  local lost = state.lost
  if not lost then
    lost = {}
    state.lost, state.seen, state.seen_count, state.total = lost, {}, 0, 0
  end
  local key = subject and rule .. ":" .. string.sub(subject, 1, 120) or rule
  local before = state.seen[key]
  if before and event.time - before < r.again then return nil end
  if not before then
    if state.seen_count >= max_remembered then state.seen, state.seen_count = {}, 0 end
    state.seen_count = state.seen_count + 1
  end
  state.seen[key] = floor(event.time)
  local room = cap - (lost[rule] or 0)
  if points > room then points = room end
  if points <= 0 then return nil end
  lost[rule] = (lost[rule] or 0) + points
  state.total = state.total + points
  local deduction = deduct(points, r.says .. ": " .. detail, { rule = rule, advice = r.advice })
  return deduction, M.consequence(ctx)
end

-- Pauses once when the score falls under args.pause_below, kills once under args.kill_below (0 = never).
function M.consequence(ctx)
  local state, args = ctx.state, ctx.args
  local score = math.max(0, 100 - state.total)
  if score < args.kill_below and not state.killed then
    state.killed = true
    return kill(string.format("the trust score is %d", floor(score)), { rule = "trust_critical", advice = "read the deductions; the sandbox is gone" })
  end
  if score < args.pause_below and not state.paused then
    state.paused = true
    return pause(string.format("the trust score is %d", floor(score)), { rule = "trust_critical", advice = "read the deductions, then resume or destroy the sandbox" })
  end
end

return M
