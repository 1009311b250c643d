-- Append entries to streams; each either goes in or is refused, because its id is not above its stream's last one, or
-- because there is no such stream any more: its visitor was erased, and nothing of them comes back.
-- One call for what many answers have to say costs a third of as many XADDs, each with its reply.
--
-- KEYS  the stream of each entry
-- ARGV  for each entry: its id, its frame
-- returns  the numbers (from 1) of the entries that were refused

local refused = {}
for i = 1, #KEYS do
  local reply = redis.pcall("XADD", KEYS[i], "NOMKSTREAM", ARGV[2 * i - 1], "f", ARGV[2 * i])
  local error = type(reply) == "table" and reply.err
  if error and not string.find(error, "equal or smaller", 1, true) then return reply end
  if error or not reply then refused[#refused + 1] = i end
end
return refused
