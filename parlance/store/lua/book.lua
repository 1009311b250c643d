-- Book ledger rows of one site, each exactly once: the row is written, its cost is spent where its hold was, the hold is
-- freed. A row that is known gives way only to one that knows better: what a takeover reckoned for a lost worker's call
-- to what that worker had written itself, an estimate to the provider's figures. Then the difference is spent.
--
-- Of what a takeover reckoned the rest of the hold stays held, until the better row comes or `free_holds` gives it back:
-- a better row may cost more, and its money must not be somebody else's by then.
--
-- KEYS  1 site's purse  2 holds  3 ledger's days  then for each row: its day's ledger, the purse of its hold's visitor
--       (the site's again where there is none)
-- ARGV  for each row: call, day, the row as JSON
-- returns  how many were written
-- uses purse

local function knows(row)
  if row.error_class == "worker_lost" then return 0 end
  return row.estimated and 1 or 2
end

local written = 0
for i = 1, #ARGV / 3 do
  local call, day, text = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local ledger, visitor_key = KEYS[2 * i + 2], KEYS[2 * i + 3]
  local row, old = cjson.decode(text), redis.call("HGET", ledger, call)
  local known = old and cjson.decode(old)
  if not known or knows(row) > knows(known) then
    redis.call("HSET", ledger, call, text)
    redis.call("SADD", KEYS[3], day)
    local spent = row.cost_nano_usd - (known and known.cost_nano_usd or 0)
    local it = read_hold(redis.call("HGET", KEYS[2], call))
    if not it then
      settle(periods_of(day, KEYS[1], visitor_key, ""), spent, 0)
    else
      local left = knows(row) == 0 and math.max(0, it.amount - spent) or 0
      settle(periods_of(it.day, KEYS[1], visitor_key, it.visitor), spent, it.amount - left)
      it.amount = left
      if left > 0 then write_hold(KEYS[2], call, it) else redis.call("HDEL", KEYS[2], call) end
    end
    written = written + 1
  end
end
return written
