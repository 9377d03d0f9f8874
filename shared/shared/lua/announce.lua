-- A writer says, before its commit, what it is about to change. Until it has raised, or for `life`,
-- nothing that rests on this is taken from memory.
--
-- KEYS  state
-- ARGV  life in µs, id of the announcement, `c:<topic>` …
-- Reply 1; 0 without an epoch: nothing is valid then
local state = redis.call('HMGET', KEYS[1], 'epoch', 'coming')
if not state[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = {}
for one, ends in string.gmatch(state[2] or '', '((%d+) [^;]*;)') do
  if tonumber(ends) > now then kept[#kept + 1] = one end
end
if #kept >= 200 then table.remove(kept, 1) end  -- bounded: what is lost is not stale, only early
kept[#kept + 1] = string.format('%.0f ', now + ARGV[1]) .. table.concat(ARGV, ' ', 2) .. ';'
redis.call('HSET', KEYS[1], 'coming', table.concat(kept))
return 1
