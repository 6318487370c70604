-- Starts a new epoch if the history is not the one that the calling process knows, so that clients
-- that reconnect later reload too. A history with another epoch is left as it is.
-- KEYS: head, events.
-- ARGV: channel, a new epoch, the known epoch, a known position, its mark, '1' if the history is
-- damaged in any case.
-- Returns 1 if a new epoch started, else 0.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip')
if head[1] ~= ARGV[3] then return 0 end
local renew = ARGV[6] == '1' or tonumber(head[2]) < tonumber(ARGV[4])
if not renew then
  local at = redis.call('XRANGE', KEYS[2], ARGV[4] .. '-0', ARGV[4] .. '-0')
  renew = at[1] and string.match(at[1][2][2], '^%d+ (%w+) ') ~= ARGV[5]
end
if not renew then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'tip', '0', 'mark', '0000000000000')
redis.call('PUBLISH', ARGV[1], ARGV[2] .. '\n')
return 1
