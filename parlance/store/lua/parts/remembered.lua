-- What is remembered of a conversation, for scripts that say `-- uses remembered`.

-- Where its window stands, and its messages as JSON from there on: {start, message, ...}; {} where there is no such
-- conversation. The keys are those of the conversation, of its messages' order, and of the messages.
local function remembered(conversation, order, messages)
  local window = redis.call("HMGET", conversation, "visitor", "window")
  if not window[1] then return {} end
  local start = window[2] or "0"
  local ids = redis.call("LRANGE", order, start, -1)
  local found = {start}
  for i = 1, #ids, 1000 do
    local texts = redis.call("HMGET", messages, unpack(ids, i, math.min(i + 999, #ids)))
    for _, text in ipairs(texts) do found[#found + 1] = text end
  end
  return found
end
