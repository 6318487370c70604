-- Writes a process's number of streams as a lease.
-- KEYS: streams. ARGV: process, number of streams, milliseconds until the lease expires.
local now = redis.call('TIME')
local ends = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
