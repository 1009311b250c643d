-- What the scripts that hold and settle money have in common. Money is nano-dollars; a Lua number counts them exactly up
-- to nine million dollars, and what is written is written by HINCRBY, on 64 bits.
--
-- A purse is a hash with two fields a period: `2026-11-20:spent` and `2026-11-20:held` (`2026-11:...` for a month). The
-- site has one for its days and months, each visitor one for their days. Where nothing is held there is no such field.
-- A hold is "amount|turn|epoch|day|visitor|until": who holds how much for which day, and from when (ms) it may be
-- freed, 0 for: while its turn lives.

local DAY_S = 86400
local SITE_LIFE_S, VISITOR_LIFE_S, HOLDS_LIFE_S = 400 * DAY_S, 2 * DAY_S, 40 * DAY_S

-- The UTC day of a time in seconds, "2026-11-20". Counts days from 0000-03-01, in eras of 400 years that begin in March.
local function day_of(seconds)
  local days = math.floor(seconds / DAY_S) + 719468
  local era = math.floor(days / 146097)
  local rest = days - era * 146097
  local year = math.floor((rest - math.floor(rest / 1460) + math.floor(rest / 36524) - math.floor(rest / 146096)) / 365)
  local day = rest - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local march = math.floor((5 * day + 2) / 153)
  local month = march < 10 and march + 3 or march - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return string.format("%04d-%02d-%02d", year, month, day - math.floor((153 * march + 2) / 5) + 1)
end

-- The periods that a call of this day counts in, those first whose end is the farthest.
local function periods_of(day, site_key, visitor_key, visitor)
  local periods = {
    {scope = "site_month", key = site_key, name = string.sub(day, 1, 7), life = SITE_LIFE_S},
    {scope = "site_day", key = site_key, name = day, life = SITE_LIFE_S},
  }
  if visitor ~= "" then
    periods[3] = {scope = "visitor_day", key = visitor_key, name = day, life = VISITOR_LIFE_S}
  end
  return periods
end

-- Looks into the purses. `budgets` are texts by scope, "" where there is none.
local function look(periods, budgets)
  for _, period in ipairs(periods) do
    local found = redis.call("HMGET", period.key, period.name .. ":spent", period.name .. ":held")
    period.spent, period.held = tonumber(found[1] or 0), tonumber(found[2] or 0)
    period.budget = tonumber(budgets[period.scope])
  end
end

-- The first period in which an amount has no room within so many percent of its budget, or nil.
local function lacking(periods, amount, percent)
  for _, period in ipairs(periods) do
    if period.budget and period.spent + period.held + amount > math.floor(period.budget * percent / 100) then
      return period
    end
  end
end

local function add(period, kind, amount)
  local field = period.name .. ":" .. kind
  local sum = redis.call("HINCRBY", period.key, field, string.format("%.0f", amount))
  if kind == "held" and sum == 0 then redis.call("HDEL", period.key, field) end
  redis.call("EXPIRE", period.key, period.life)
end

local function hold(periods, amount)
  for _, period in ipairs(periods) do
    add(period, "held", amount)
  end
end

-- Settles: so much more was spent, so much less is held. The purse of a visitor who was erased does not come back.
local function settle(periods, spent, freed)
  for _, period in ipairs(periods) do
    if period.scope ~= "visitor_day" or redis.call("EXISTS", period.key) == 1 then
      if spent ~= 0 then add(period, "spent", spent) end
      if freed ~= 0 then add(period, "held", -freed) end
    end
  end
end

local function read_hold(text)
  if not text then return nil end
  local amount, turn, epoch, day, visitor, till = string.match(text, "^(%d+)|([^|]*)|(%d+)|([^|]*)|([^|]*)|(%d+)$")
  return {amount = tonumber(amount), turn = turn, epoch = epoch, day = day, visitor = visitor, till = tonumber(till)}
end

local function write_hold(key, call, it)
  local text = string.format("%.0f|%s|%s|%s|%s|%.0f", it.amount, it.turn, it.epoch, it.day, it.visitor, it.till)
  redis.call("HSET", key, call, text)
  redis.call("EXPIRE", key, HOLDS_LIFE_S)
end
