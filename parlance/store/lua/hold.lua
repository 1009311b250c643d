-- Hold money for one upstream call before it is made, in all the periods that it counts in or in none. A call that has
-- a hold already holds the new amount instead.
--
-- KEYS  1 site's purse  2 holds  3 visitor's purse  4 turn
-- ARGV  1 call  2 amount (nano-dollars)  3 budget of the day  4 of the month  5 of the visitor's day ("" for none)
--       6 percent of the budgets that may be used  7 turn, or "" for work behind the visitors' backs  8 epoch
--       9 visitor, or ""  10 life (ms) of a hold without a turn
-- returns  {"held"} | {"budget", scope} | {"fenced"}: another worker owns the turn, or it has ended, or was erased
-- uses purse

local call, amount, turn, epoch = ARGV[1], tonumber(ARGV[2]), ARGV[7], ARGV[8]
if turn ~= "" then
  local record = redis.call("HMGET", KEYS[4], "epoch", "state")
  if record[1] ~= epoch or record[2] ~= "running" then return {"fenced"} end
end

local time = redis.call("TIME")
local known = read_hold(redis.call("HGET", KEYS[2], call))
local it = known or {amount = 0, turn = turn, epoch = epoch, day = day_of(time[1]), visitor = ARGV[9], till = 0}
local more = amount - it.amount
local periods = periods_of(it.day, KEYS[1], KEYS[3], it.visitor)
look(periods, {site_day = ARGV[3], site_month = ARGV[4], visitor_day = ARGV[5]})
local short = lacking(periods, more, tonumber(ARGV[6]))
if short and more > 0 then return {"budget", short.scope} end

hold(periods, more)
it.amount = amount
if turn == "" then it.till = time[1] * 1000 + ARGV[10] end
write_hold(KEYS[2], call, it)
return {"held"}
