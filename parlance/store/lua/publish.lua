-- Publishes a site: stores its form and counts its version up, unless it is what is stored already.
-- KEYS[1] the site (hash), KEYS[2] its versions (hash)
-- ARGV[1] the site's JSON, ARGV[2] the publisher's message
-- Returns {version, 1} after publishing, {version, 0} if nothing had changed.
if redis.call('HGET', KEYS[1], 'json') == ARGV[1] then
  return { tonumber(redis.call('HGET', KEYS[1], 'version')), 0 }
end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'json', ARGV[1])
local at = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[2], version, cjson.encode({ at = at, message = ARGV[2], json = ARGV[1] }))
return { version, 1 }
