-- Admit one visitor message: check everything, then write everything. A refusal consumes nothing.
--
-- KEYS  1 visitor  2 visitor's asked  3 visitor's turns  4 conversation  5 messages  6 message order
--       7 visitor's conversations  8 leases  9 turn (new)  10 events (new)
--       11 site's purse  12 holds  13 visitor's purse  14... one rate each, as listed in ARGV
-- ARGV  1 session issued at (ms)   2 conversation id   3 message id   4 turn id
--       5 the message as JSON      6 the start event's frame
--       7 lease (ms)   8 concurrent answers allowed    9 retention of the conversation (s)
--       10 life of the turn's record (s)   11 life of a running journal (s)
--       12 visitor  13 the first call's id, "" for none  14 its hold (nano-dollars)  15 its hold in the soft stage
--       16 budget of the day  17 of the month  18 of the visitor's day ("" for none)  19 soft stage from (percent)
--       20 number of rates n, then n times: name, period (us), quota in a period, burst
--       then field, value, ... of the turn's record
-- returns  {"expired"} | {"not_found"} | {"joined", turn} | {"busy", turn, rates...}
--          {"limited", name, retry after (us), rates...}
--          {"budget", scope, now (ms), 1 where it is spent or 0 where it is only held at this moment, rates...}
--          {"admitted", 1 in the soft stage or 0, what is remembered of the conversation, rates...}
--          rates: n times {name, quota, remaining, seconds until full}
-- uses purse
-- uses remembered
--
-- GCRA: one number a rate, the theoretical arrival time (tat). A message moves it by period/quota; it may run ahead
-- of the clock by (burst - 1) such steps. The clock is Redis's own.
-- Where a budget comes to its end, answers become cheaper before they become none: the soft stage.

local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
local conversation, message, turn = ARGV[2], ARGV[3], ARGV[4]

local who = redis.call("HMGET", KEYS[1], "valid_from", "conversation")
if not who[1] or tonumber(ARGV[1]) < tonumber(who[1]) then return {"expired"} end

local asked = redis.call("HGET", KEYS[2], message)
if asked then return {"joined", asked} end
if who[2] ~= conversation then return {"not_found"} end

local count = tonumber(ARGV[20])
local at = 21
local rates, states = {}, {}
local refused, wait = false, -1
for i = 1, count do
  local name, period, quota, burst = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  local step = period / quota
  local tat = math.max(tonumber(redis.call("GET", KEYS[13 + i]) or 0), now)
  local ahead = tat - now
  local room = step * burst - ahead
  rates[i] = {key = KEYS[13 + i], tat = tat + step, step = step}
  if room < step - 1 and step - room > wait then
    refused, wait = name, step - room
  end
  local remaining = math.max(0, math.floor((room + 1) / step))
  states[i] = {name, quota, remaining, math.ceil(ahead / 1000000)}
end

local running = redis.call("HGET", KEYS[4], "turn")
if running and running ~= "" then return {"busy", running, unpack(states)} end

-- A lapsed lease belongs to a dead worker and holds no place; whoever takes its turn over may exceed the limit by it.
if not refused and redis.call("ZCOUNT", KEYS[8], now_ms, "+inf") >= tonumber(ARGV[8]) then
  refused, wait = "concurrency", 2000000
end
if refused then return {"limited", refused, string.format("%.0f", wait), unpack(states)} end

local day, soft, amount = day_of(time[1]), 0, tonumber(ARGV[14])
local periods = periods_of(day, KEYS[11], KEYS[13], ARGV[12])
look(periods, {site_day = ARGV[16], site_month = ARGV[17], visitor_day = ARGV[18]})
if lacking(periods, 0, tonumber(ARGV[19])) or lacking(periods, amount, 100) then
  soft, amount = 1, tonumber(ARGV[15])
end
local short = lacking(periods, amount, 100)
if short then
  return {"budget", short.scope, now_ms, short.spent + amount > short.budget and 1 or 0, unpack(states)}
end

if ARGV[13] ~= "" then
  hold(periods, amount)
  write_hold(KEYS[12], ARGV[13], {amount = amount, turn = turn, epoch = "0", day = day, visitor = ARGV[12], till = 0})
end
for i = 1, count do
  local rate = rates[i]
  redis.call("SET", rate.key, string.format("%.0f", rate.tat), "PX", math.ceil((rate.tat - now) / 1000) + 1000)
  states[i][3] = math.max(0, states[i][3] - 1)
  states[i][4] = math.ceil((rate.tat - now) / 1000000)
end

local retain = ARGV[9]
redis.call("HSET", KEYS[9], "created", now_ms, "soft", soft, unpack(ARGV, at))
redis.call("EXPIRE", KEYS[9], ARGV[10])
redis.call("ZADD", KEYS[8], now_ms + ARGV[7], turn)
redis.call("HSET", KEYS[2], message, turn)
redis.call("RPUSH", KEYS[3], turn)
redis.call("HSET", KEYS[4], "turn", turn)
if redis.call("HSETNX", KEYS[5], message, ARGV[5]) == 1 then redis.call("RPUSH", KEYS[6], message) end
redis.call("XADD", KEYS[10], "0-1", "f", ARGV[6])
redis.call("EXPIRE", KEYS[10], ARGV[11])
for i = 1, 7 do redis.call("EXPIRE", KEYS[i], retain) end
return {"admitted", soft, remembered(KEYS[4], KEYS[6], KEYS[5]), unpack(states)}
