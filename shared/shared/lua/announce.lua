-- A writer says, before its commit, what it is about to change. Until it has raised, or for `life`,
-- nothing that rests on this is taken from memory.
--
-- KEYS  state
-- ARGV  life in µs, id of the announcement, `c:<topic>` …
-- Reply 1; 0 without a state: nothing is valid then
--
-- Beside the state lies, for each topic and as `coming` for all of them, a sorted set of the ids that
-- announce it, by the moment they run out: what a reader or writer pays does not grow with them.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local past, ends = string.format('%.0f', now), string.format('%.0f', now + ARGV[1])
local life = string.format('%.0f', math.ceil(ARGV[1] / 1000))
local function announce(name)
  local key = KEYS[1] .. ':' .. name
  redis.call('ZREMRANGEBYSCORE', key, '-inf', past)
  redis.call('ZADD', key, ends, ARGV[2])
  redis.call('PEXPIRE', key, life)
end
announce('coming')
for argument = 3, #ARGV do announce(ARGV[argument]) end
return 1
