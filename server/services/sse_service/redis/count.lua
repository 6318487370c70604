-- Counts the streams of all other processes and deletes expired leases.
-- KEYS: streams. ARGV: the process that asks, which counts its own streams.
-- Returns the number of streams.
local now = redis.call('TIME')
local ms, total = now[1] * 1000 + math.floor(now[2] / 1000), 0
local figures = redis.call('HGETALL', KEYS[1])
for i = 1, #figures, 2 do
  local streams, ends = string.match(figures[i + 1], '(%d+) (%d+)')
  if tonumber(ends) <= ms then
    redis.call('HDEL', KEYS[1], figures[i])
  elseif figures[i] ~= ARGV[1] then
    total = total + tonumber(streams)
  end
end
return total
