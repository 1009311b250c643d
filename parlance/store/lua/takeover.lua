-- Take over a turn whose lease has lapsed (or was given up). The new epoch's first event is a `reset` at `<epoch>-0`:
-- it outranks every id of the old epoch, so Redis itself refuses what the old runner may still try to append.
--
-- KEYS  1 leases  2 turn  3 events
-- ARGV  1 turn id  2 worker  3 lease (ms)  4 the reset event's frame  5 life of a running journal (s)
-- returns  the turn's record as field, value, ... with the new epoch; or {} where there is nothing to take over

local time = redis.call("TIME")
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local lapses = redis.call("ZSCORE", KEYS[1], ARGV[1])
if not lapses or tonumber(lapses) > now_ms then return {} end
if redis.call("HGET", KEYS[2], "state") ~= "running" then
  redis.call("ZREM", KEYS[1], ARGV[1])
  return {}
end
local epoch = redis.call("HINCRBY", KEYS[2], "epoch", 1)
redis.call("HSET", KEYS[2], "owner", ARGV[2])
redis.call("ZADD", KEYS[1], now_ms + ARGV[3], ARGV[1])
redis.call("XADD", KEYS[3], epoch .. "-0", "f", ARGV[4])
redis.call("EXPIRE", KEYS[3], ARGV[5])
return redis.call("HGETALL", KEYS[2])
