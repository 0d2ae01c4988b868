"""What Redis does in one call: many requests, each with all of its limits, in order, at one moment of its own clock.

The arithmetic is that of `gcra.taken`, in whole microseconds; a double holds them exactly for 285 years of Unix time.
All keys of a call are read by one MGET and written once. `ENTRY` and `RESULT` are what goes in and comes out for each
key, packed, because text would cost both sides more than the decision does.
"""

import struct
from enum import IntFlag

from policy.quotas import NEVER_US

ENTRY = struct.Struct("<Bdd")
"""Flags, what is taken (us of TAT; 0: nothing ever passes), the bucket's capacity (us)."""
RESULT = struct.Struct("<dd")
"""How far the TAT lies ahead of now (us), and how long to wait (us; 0: passes)."""
LARGEST_US = float(2**52)
"""142 years; a bucket that takes longer to refill is exact to a microsecond no more."""


class Flag(IntFlag):
    """What an entry is."""

    LAST = 1
    """The request ends here."""
    SHADOW = 2
    """Computed, never refuses."""
    DEBIT = 4
    """Taken without a question: what was admitted while the store was away."""
    REFUND = 8
    """Given back: another node refused the request."""


CHARGE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('MGET', unpack(KEYS))
local tats, changed, out = {}, {}, {}
for i = 1, #KEYS do
  tats[KEYS[i]] = tonumber(stored[i] or 0) or 0
end
local entries, position, i, count = ARGV[1], 1, 1, #KEYS
while i <= count do
  local first, refused, flags, amount, capacity = i, false
  local new, used, wait, shadow = {}, {}, {}, {}
  repeat
    flags, amount, capacity, position = struct.unpack('<Bdd', entries, position)
    local key = KEYS[i]
    local tat, latest = tats[key], now + capacity
    wait[i], used[i] = 0, 0
    if flags >= 8 then
      if tat > now then
        new[i] = math.max(now, tat - amount)
      end
    elseif flags >= 4 then
      new[i] = math.min(math.max(tat, now) + amount, latest)
    elseif amount == 0 then
      wait[i] = NEVER
      refused = refused or flags < 2
    else
      if tat < now then
        tat = now
      elseif tat > latest then
        tat = latest
        tats[key], changed[key] = tat, true
      end
      if tat + amount > latest then
        wait[i], used[i] = tat + amount - latest, tat - now
        refused = refused or flags < 2
      else
        new[i], used[i] = tat + amount, tat + amount - now
      end
    end
    i = i + 1
  until flags % 2 == 1
  for j = first, i - 1 do
    if new[j] and not refused then
      tats[KEYS[j]], changed[KEYS[j]] = new[j], true
    end
    out[j] = struct.pack('<dd', used[j], wait[j])
  end
end
for key in pairs(changed) do
  local ahead = tats[key] - now
  if ahead > 0 then
    redis.call('SET', key, string.format('%.0f', tats[key]), 'PX', math.ceil(ahead / 1000))
  else
    redis.call('DEL', key)
  end
end
return table.concat(out)
""".replace("NEVER", str(NEVER_US))
"""KEYS: a bucket for each entry. ARGV: the entries."""

ANNOUNCE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""
"""KEYS: the replicas' sorted set. ARGV: this replica's name, seconds after which a silent one is gone."""
