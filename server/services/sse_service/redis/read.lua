-- Reads records of a history, from a position on.
-- KEYS: head, events, and optionally the producer whose newest number the caller needs.
-- ARGV: first position, number of records.
-- Returns the epoch, the tip, its mark, the producer's newest number, then the records.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark')
local answer = {head[1], head[2], head[3], KEYS[3] and redis.call('GET', KEYS[3]) or '0'}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = entry[2][2]
end
return answer
