-- Renew the leases of one worker's turns of one site, and say what became of each.
--
-- KEYS  1 leases  2... turns
-- ARGV  1 lease (ms)  then for each turn: its id, the epoch that the caller holds
-- returns  a word a turn: "held" | "cancel" (held, and somebody asked to stop it) | "fenced"

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local words = {}
for i = 2, #KEYS do
  local turn = redis.call("HMGET", KEYS[i], "epoch", "state", "cancel")
  local id, epoch = ARGV[2 * i - 2], ARGV[2 * i - 1]
  if turn[1] == epoch and turn[2] == "running" then
    redis.call("ZADD", KEYS[1], now_ms + ARGV[1], id)
    words[i - 1] = turn[3] and "cancel" or "held"
  else
    words[i - 1] = "fenced"
  end
end
return words
