-- Give up a turn that this worker cannot finish, so that another takes it over at once.
--
-- KEYS  1 leases  2 turn
-- ARGV  1 turn id  2 epoch that the caller holds
-- returns  1 given up  0 it was not ours any more

local turn = redis.call("HMGET", KEYS[2], "epoch", "state")
if turn[1] ~= ARGV[2] or turn[2] ~= "running" then return 0 end
redis.call("ZADD", KEYS[1], 0, ARGV[1])
return 1
