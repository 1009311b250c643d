-- What is remembered of a conversation: its messages from the one on at which its window stands.
--
-- KEYS  1 conversation  2 message order  3 messages
-- returns  {} where there is no such conversation, else {the window's start, message as JSON, ...}

local window = redis.call("HMGET", KEYS[1], "visitor", "window")
if not window[1] then return {} end
local start = window[2] or "0"
local order = redis.call("LRANGE", KEYS[2], start, -1)
local reply = {start}
for i = 1, #order, 1000 do
  local texts = redis.call("HMGET", KEYS[3], unpack(order, i, math.min(i + 999, #order)))
  for _, text in ipairs(texts) do reply[#reply + 1] = text end
end
return reply
