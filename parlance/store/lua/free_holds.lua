-- Free holds that nobody will settle: their turn has ended, was erased or has another owner, or their time is over. The
-- first time one is named its grace begins, for a row that is still on its way; after that its money is given back.
--
-- KEYS  1 site's purse  2 holds  then for each hold: its visitor's purse (the site's again where there is none)
-- ARGV  1 grace (ms)  then the call of each hold
-- returns  how many were freed
-- uses purse

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local freed = 0
for i = 2, #ARGV do
  local call = ARGV[i]
  local it = read_hold(redis.call("HGET", KEYS[2], call))
  if it and it.till == 0 then
    it.till = now_ms + ARGV[1]
    write_hold(KEYS[2], call, it)
  elseif it and it.till <= now_ms then
    settle(periods_of(it.day, KEYS[1], KEYS[i + 1], it.visitor), 0, it.amount)
    redis.call("HDEL", KEYS[2], call)
    freed = freed + 1
  end
end
return freed
