"""What the shared store does in Redis, each step at once.

Keys of one URI lie in one slot (`{...}` holds a hash of the URI): entries and leases of all of its variants, the names
by which they differ, the set of its entries, and the number that every invalidation raises. Whatever of another type
lies under such a key is somebody else's mistake and is deleted.
"""

from ext_proc.redis_calls import Script

LONGEST_FILL_MS = 3_600_000
"""A fill that takes longer than this may bring back what was invalidated when it began."""
_GET = """
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then redis.call('UNLINK', key) return false end
  return value
end
"""

LOOK_UP = Script(
    _GET
    + """
-- KEYS: names, entry, lease, epoch. ARGV: names that went into the key, 1 if they are right in any case,
-- token and milliseconds of the lease that is wanted ('' and 0: none), seconds since 1970.
-- Returns names, entry, epoch, whose lease it is ('o'wn, 'h'eld, '!0' or '!1': nobody waits), milliseconds of it.
local names, entry, epoch = get(KEYS[1]), false, get(KEYS[4])
if names and names ~= ARGV[1] and ARGV[2] == '0' then return {names, false, epoch, '', 0} end
entry = get(KEYS[2])
if ARGV[3] == '' then return {names, entry, epoch, '', 0} end
if entry and (tonumber(string.sub(entry, 5, 14)) or 0) > tonumber(ARGV[5]) then return {names, entry, epoch, '', 0} end
local holder = get(KEYS[3])
if holder == ARGV[3] then return {names, entry, epoch, 'o', 0} end
if holder then
  local left = redis.call('PTTL', KEYS[3])
  if string.sub(holder, 1, 1) == '!' then return {names, entry, epoch, holder, left} end
  return {names, entry, epoch, 'h', left}
end
local set = redis.pcall('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
if set.err then return {names, entry, epoch, '', 0} end
return {names, entry, epoch, 'o', 0}
"""
)

PUT = Script(
    _GET
    + """
-- KEYS: names, entry, lease, epoch, entries. ARGV: names, entry, milliseconds that it lives, token, epoch that the
-- fill began in, milliseconds for which nobody shall wait for the key. Returns 1 if it was stored.
local holder = get(KEYS[3])
if holder and (holder == ARGV[4] or string.sub(holder, 1, 1) == '!') then redis.call('DEL', KEYS[3]) end
if tonumber(ARGV[6]) > 0 then redis.call('SET', KEYS[3], '!0', 'PX', ARGV[6], 'NX') end
if (get(KEYS[4]) or '') ~= ARGV[5] then return 0 end
if ARGV[1] ~= '' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1])))
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if type(redis.pcall('SADD', KEYS[5], KEYS[2])) == 'table' then
  redis.call('UNLINK', KEYS[5])
  redis.call('SADD', KEYS[5], KEYS[2])
end
redis.call('PEXPIRE', KEYS[5], math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[5])))
return 1
"""
)

END_LEASE = Script(
    _GET
    + """
-- KEYS: lease. ARGV: token, '!0', '!1' or '' and for how many milliseconds nobody shall wait for the key.
if get(KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
)

RENEW = Script(
    _GET
    + """
-- KEYS: lease. ARGV: token, milliseconds.
if get(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)

INVALIDATE = Script(
    """
-- KEYS: epoch, entries. ARGV: milliseconds for which fills that began before are refused. Returns how many there were.
-- A Redis that is full takes no number, nor any fill; what is there goes all the same.
if type(redis.pcall('INCR', KEYS[1])) == 'table' then redis.call('UNLINK', KEYS[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local members = redis.pcall('SMEMBERS', KEYS[2])
if members.err then members = {} end
for first = 1, #members, 5000 do redis.call('UNLINK', unpack(members, first, math.min(first + 4999, #members))) end
redis.call('UNLINK', KEYS[2])
return #members
"""
)

LEADS = Script(
    """
-- KEYS: entries. Returns the beginning of each, as far as it says that a purge goes by it; '' where there is none.
local leads = {}
for place, key in ipairs(KEYS) do
  local start = redis.pcall('GETRANGE', key, 0, 19)
  local size = type(start) == 'string' and tonumber(string.sub(start, 15, 20)) or 0
  leads[place] = size > 0 and redis.call('GETRANGE', key, 0, size - 1) or ''
end
return leads
"""
)

DROP = Script(
    """
-- KEYS: entries. ARGV: the beginning of each. Deletes what was found to be of no use, unless it was replaced since.
-- Returns 1 for each that it has deleted, else 0.
local dropped = {}
for place, key in ipairs(KEYS) do
  dropped[place] = 0
  if redis.pcall('GETRANGE', key, 0, #ARGV[place] - 1) == ARGV[place] then
    dropped[place] = redis.call('UNLINK', key)
    redis.pcall('SREM', string.match(key, '^(.*})e') .. 'u', key)
  end
end
return dropped
"""
)

TAG = Script(
    """
-- KEYS: set of the entries with one tag. ARGV: entry, milliseconds that it lives, most entries.
local size = redis.pcall('SCARD', KEYS[1])
if type(size) == 'table' then redis.call('UNLINK', KEYS[1]) size = 0 end
if size < tonumber(ARGV[3]) then redis.call('SADD', KEYS[1], ARGV[1]) end
return redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[1])))
"""
)

UNTAG = Script(
    """
-- KEYS: set of the entries with one tag. ARGV: entries that are gone.
local removed = redis.pcall('SREM', KEYS[1], unpack(ARGV))
return type(removed) == 'number' and removed or 0
"""
)

TELL = Script(
    """
-- KEYS: stream of changes. ARGV: most entries, kind, value, who says so.
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'k', ARGV[2], 'v', ARGV[3], 'o', ARGV[4])
"""
)

BAN = Script(
    """
-- KEYS: stream of bans, mark of this purge. ARGV: most entries, kind, value, name, milliseconds of the mark.
-- Returns whether it was new, and where it stands in the stream.
local known = redis.call('GET', KEYS[2])
if known then return {0, known} end
local position = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'k', ARGV[2], 'v', ARGV[3], 'n', ARGV[4])
redis.call('SET', KEYS[2], position, 'PX', ARGV[5])
return {1, position}
"""
)

EVERY = (LOOK_UP, PUT, END_LEASE, RENEW, INVALIDATE, LEADS, DROP, TAG, UNTAG, TELL, BAN)
