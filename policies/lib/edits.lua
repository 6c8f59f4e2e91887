-- Distance between names: how many slips of a finger lie between a package and a well-known one.
local M = {}

local byte = string.byte

-- Optimal string alignment (insert, delete, replace, swap neighbours), given up as soon as it passes `most`.
function M.distance(a, b, most)
  local n, m = #a, #b
  if n - m > most or m - n > most then return most + 1 end
  local before, row, after = {}, {}, {}
  for j = 0, m do row[j] = j end
  for i = 1, n do
    after[0] = i
    local best = i
    local ca = byte(a, i)
    for j = 1, m do
      local cb = byte(b, j)
      local d = row[j - 1] + (ca == cb and 0 or 1)
      if row[j] + 1 < d then d = row[j] + 1 end
      if after[j - 1] + 1 < d then d = after[j - 1] + 1 end
      if i > 1 and j > 1 and ca == byte(b, j - 1) and byte(a, i - 1) == cb and before[j - 2] + 1 < d then d = before[j - 2] + 1 end
      after[j] = d
      if d < best then best = d end
    end
    if best > most then return most + 1 end
    before, row, after = row, after, before
  end
  return row[m]
end

return M
