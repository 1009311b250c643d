-- End a turn: its answer into the conversation, its last event into the journal, its lease and its place freed.
-- All of it or nothing, and only by the turn's present owner.
--
-- KEYS  1 turn  2 events  3 leases  4 conversation  5 messages  6 message order  7 visitor's asked  8 feedback
-- ARGV  1 turn id  2 epoch  3 state  4 the last event's id  5 its frame  6 life of the journal (s)
--       7 retention (s)  8 answer's message id  9 the answer as JSON, or ""  10 question's message id
--       11 "1" where the question may be asked anew under the same id
-- returns  1 done  0 fenced: a later epoch owns the turn, or it has ended, or it was erased

local turn = redis.call("HMGET", KEYS[1], "epoch", "state")
if turn[1] ~= ARGV[2] or turn[2] ~= "running" then return 0 end

redis.call("HSET", KEYS[1], "state", ARGV[3])
redis.call("ZREM", KEYS[3], ARGV[1])
redis.call("XADD", KEYS[2], ARGV[4], "f", ARGV[5])
redis.call("EXPIRE", KEYS[2], ARGV[6])
if redis.call("HGET", KEYS[4], "turn") == ARGV[1] then redis.call("HSET", KEYS[4], "turn", "") end
if ARGV[9] ~= "" and redis.call("EXISTS", KEYS[4]) == 1 then
  if redis.call("HSETNX", KEYS[5], ARGV[8], ARGV[9]) == 1 then redis.call("RPUSH", KEYS[6], ARGV[8]) end
end
if ARGV[11] == "1" then redis.call("HDEL", KEYS[7], ARGV[10]) end
for i = 4, 8 do redis.call("EXPIRE", KEYS[i], ARGV[7]) end
return 1
