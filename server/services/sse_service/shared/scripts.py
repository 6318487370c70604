"""What runs inside Redis: the keys of a tenant and the scripts that change them in one step.

A tenant's history is a stream whose entry ids are the positions, and a hash with its epoch, tip and
the mark of its newest event. All keys of a tenant carry the same hash tag, so that Redis Cluster
keeps them together, and its channel carries it too, for sharded Pub/Sub.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from urllib.parse import quote

# As long as a mark is at least; no process has this name.
START_MARK = "0000000000000"
# No tenant's key: those have a tag in braces.
SITE_STREAMS_KEY = "bas:streams"
SITE_CHANNEL = "bas:live"


def head_key(tenant_id: str) -> str:
    """Epoch, tip and newest mark of the tenant's history."""
    return f"{_tag(tenant_id)}:head"


def events_key(tenant_id: str) -> str:
    """The stream of the tenant's events."""
    return f"{_tag(tenant_id)}:events"


def producer_key(tenant_id: str, run: str) -> str:
    """The number of the newest event that the process `run` appended."""
    return f"{_tag(tenant_id)}:producer:{run}"


def channel_name(tenant_id: str) -> str:
    """Where the tenant's new events are published."""
    return f"{_tag(tenant_id)}:live"


def streams_key(tenant_id: str) -> str:
    """How many streams each process serves to the tenant."""
    return f"{_tag(tenant_id)}:streams"


def copy_key(key: str) -> str:
    """A value that all processes may read for a while."""
    return f"bas:copy:{key}"


def _tag(tenant_id: str) -> str:
    # Quoted, so that no tenant's name can end the tag or name another key.
    return f"bas:{{{quote(tenant_id, safe='')}}}"


@dataclass(frozen=True)
class Script:
    """A Lua script and the name that Redis gives it."""

    source: str

    @property
    def sha(self) -> str:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()


# KEYS head, events, producer. ARGV an epoch for a history that does not exist yet.
# Returns epoch, tip, mark, number of the producer's newest event.
HEAD = Script("""
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark')
if not head[1] then
  head = {ARGV[1], '0', '0000000000000'}
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', head[1], 'tip', head[2], 'mark', head[3])
end
head[4] = redis.call('GET', KEYS[3]) or '0'
return head
""")

# KEYS head, events, producer. ARGV channel, a new epoch, '1' to begin it in any case, events and
# bytes to keep, run, number of the first event, number of the newest that Redis said it has,
# seconds to remember the producer, and a key; then for each event what stands before its id in the
# frame, what stands after, its device, and its key, if it has one.
# A producer's numbers make a repeated call harmless. Should Redis have forgotten what it once
# confirmed (a fail-over), the history is not the one that clients know: a new epoch begins.
# Returns epoch, number of the newest event appended before, and for each event since its position,
# or 0 if its key had come before. (The names of keys' keys are made here: they have the same tag.)
APPEND = Script("""
local function text(number) return string.format('%.0f', number) end
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark', 'size')
local epoch, tip = head[1], tonumber(head[2] or '0')
local mark, size = head[3] or '0000000000000', tonumber(head[4] or '0')
local done = redis.call('GET', KEYS[3])
local forgot = tonumber(done or '0') < tonumber(ARGV[8])
local anew = ARGV[3] == '1' and epoch ~= ARGV[2]
if not epoch or forgot or anew then
  epoch, tip, mark = ARGV[2], 0, '0000000000000'
  redis.call('DEL', KEYS[2])
end
local last, first = tonumber(done or '0'), tonumber(ARGV[7])
local seq, news, answer = first - 1, {epoch, '\\n'}, {epoch, text(last)}
for i = 11, #ARGV, 4 do
  seq = seq + 1
  local key = ARGV[i + 3]
  if seq <= last then
    -- appended by an earlier call
  elseif key ~= '' and not redis.call('SET', KEYS[1] .. ':' .. key, '1', 'NX', 'EX', ARGV[10]) then
    answer[#answer + 1] = '0'
  else
    tip = tip + 1
    local own = ARGV[6] .. text(seq)
    local frame = ARGV[i] .. epoch .. '-' .. text(tip) .. '-' .. own .. ARGV[i + 1]
    local about = {text(tip), own, mark, #ARGV[i] - 4, #frame, ARGV[i + 2]}
    local record = table.concat(about, ' ') .. '\\n' .. frame
    if size == 0 then size = #record else size = size * 0.99 + #record * 0.01 end
    local keep = math.min(tonumber(ARGV[4]), math.max(1, math.floor(tonumber(ARGV[5]) / size)))
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', text(keep), text(tip) .. '-0', 'e', record)
    mark = own
    news[#news + 1] = record
    answer[#answer + 1] = text(tip)
  end
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'tip', text(tip), 'mark', mark, 'size', size)
if seq > last then redis.call('SET', KEYS[3], text(seq), 'EX', ARGV[9]) end
if #news > 2 or anew then redis.call('PUBLISH', ARGV[1], table.concat(news)) end
return answer
""")

# KEYS head, events. ARGV channel, a new epoch, the epoch known, position and mark heard there, '1'
# if the history is damaged in any case.
# Begins the history anew if it is not the one that was heard, so that clients that are away now are
# told as well. Another epoch is another history already. Returns whether it did.
RENEW = Script("""
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
redis.call('PUBLISH', ARGV[1], ARGV[2] .. '\\n')
return 1
""")

# KEYS head, events, and the producer whose newest number is asked for, if any.
# ARGV position, how many. Returns epoch, tip, mark, that number, then the records from the
# position on.
READ = Script("""
local head = redis.call('HMGET', KEYS[1], 'epoch', 'tip', 'mark')
local answer = {head[1], head[2], head[3], KEYS[3] and redis.call('GET', KEYS[3]) or '0'}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = entry[2][2]
end
return answer
""")

# KEYS streams. ARGV run, streams, milliseconds the figure is good for.
LEASE = Script("""
local now = redis.call('TIME')
local ends = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
""")

# KEYS streams. ARGV the run that counts for itself. Returns the streams of all others, and
# forgets the figures of processes that are gone.
COUNT = Script("""
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
""")
