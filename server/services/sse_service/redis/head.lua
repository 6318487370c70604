-- Reads the head of a history, or creates the history.
-- KEYS: head, events, producer.
-- ARGV: the epoch of a history that does not exist yet, seconds after which it expires then.
-- Returns the epoch, the tip, its mark, and the number of the producer's newest event.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark')
if not head[1] then
  head = {ARGV[1], '0', '0000000000000'}
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', head[1], 'tip', head[2], 'mark', head[3])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
head[4] = redis.call('GET', KEYS[3]) or '0'
return head
