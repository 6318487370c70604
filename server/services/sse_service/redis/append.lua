-- Appends a process's events to a tenant's history and publishes them.
-- KEYS: head, events, producer.
-- ARGV: 1 channel, 2 a new epoch, 3 '1' to start that epoch in any case, 4 events to keep, 5 bytes
-- to keep, 6 process, 7 number of the first event, 8 newest number that Redis has confirmed,
-- 9 seconds to remember the producer, 10 seconds to remember an event's key, 11 seconds without an
-- event after which the history expires; then for each event: its frame before the id, its frame
-- after the id, its device, and its key or ''.
-- The numbers make a repeated call harmless. If Redis lost events that it had confirmed (after a
-- fail-over), clients know another history: a new epoch starts.
-- Returns the epoch, the newest number that an earlier call appended, and for each event after it
-- its position, or 0 if its key came before.
-- Keys of events are fields of two hashes that take turns: a full or old one is kept for as long as
-- the next one fills, so at least the newest ARGV[4] keys are known, and at most twice as many take
-- memory. (The script makes the names of these hashes from KEYS[1]: they have the same hash tag.)
local function text(number) return string.format('%.0f', number) end
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark', 'size')
local epoch, tip = head[1], tonumber(head[2] or '0')
local mark, size = head[3] or '0000000000000', tonumber(head[4] or '0')
local done = redis.call('GET', KEYS[3])
local forgot = tonumber(done or '0') < tonumber(ARGV[8])
local new_epoch = ARGV[3] == '1' and epoch ~= ARGV[2]
if not epoch or forgot or new_epoch then
  epoch, tip, mark = ARGV[2], 0, '0000000000000'
  redis.call('DEL', KEYS[2])
end
local turn, turned, known
local function hash_of(number) return KEYS[1] .. ':keys:' .. number % 2 end
local function is_new(key)
  if not turn then
    local kept, now = redis.call('HMGET', KEYS[1], 'turn', 'turned', 'known'), redis.call('TIME')[1]
    turn, turned, known = tonumber(kept[1] or '0'), tonumber(kept[2] or '0'), tonumber(kept[3] or '0')
    local age = tonumber(now) - turned
    if age < 0 or age >= tonumber(ARGV[10]) or known >= math.min(tonumber(ARGV[4]), 100000) then
      turn, turned, known = turn + 1, tonumber(now), 0
      redis.call('DEL', hash_of(turn))
    end
  end
  for number = turn - 1, turn do
    if redis.call('HGET', hash_of(number), key) then return false end
  end
  known = known + 1
  redis.call('HSET', hash_of(turn), key, '1')
  return true
end
local last, first = tonumber(done or '0'), tonumber(ARGV[7])
local seq, message, answer = first - 1, {epoch, '\n'}, {epoch, text(last)}
for i = 12, #ARGV, 4 do
  seq = seq + 1
  local key = ARGV[i + 3]
  if seq <= last then
    -- appended by an earlier call
  elseif key ~= '' and not is_new(key) then
    answer[#answer + 1] = '0'
  else
    tip = tip + 1
    local own = ARGV[6] .. text(seq)
    local frame = ARGV[i] .. epoch .. '-' .. text(tip) .. '-' .. own .. ARGV[i + 1]
    local about = {text(tip), own, mark, #ARGV[i] - 4, #frame, ARGV[i + 2]}
    local record = table.concat(about, ' ') .. '\n' .. frame
    if size == 0 then size = #record else size = size * 0.99 + #record * 0.01 end
    local keep = math.min(tonumber(ARGV[4]), math.max(1, math.floor(tonumber(ARGV[5]) / size)))
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', text(keep), text(tip) .. '-0', 'e', record)
    mark = own
    message[#message + 1] = record
    answer[#answer + 1] = text(tip)
  end
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'tip', text(tip), 'mark', mark, 'size', size)
if turn then
  redis.call('HSET', KEYS[1], 'turn', text(turn), 'turned', text(turned), 'known', text(known))
  redis.call('EXPIRE', hash_of(turn), 2 * ARGV[10])
end
redis.call('EXPIRE', KEYS[1], ARGV[11])
redis.call('EXPIRE', KEYS[2], ARGV[11])
if seq > last then redis.call('SET', KEYS[3], text(seq), 'EX', ARGV[9]) end
if #message > 2 or new_epoch then redis.call('PUBLISH', ARGV[1], table.concat(message)) end
return answer
