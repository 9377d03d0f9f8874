-- A writer says, after its commit, what it has changed.
--
-- KEYS  state
-- ARGV  `c:<topic>` …
-- Reply {run of this server, 1 when a lease of it is alive or 0, epoch or ''}
-- Without an epoch nothing is valid, and there is nothing to raise.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'until')
if not state[1] then return {run, 0, ''} end
local stamp = redis.call('HINCRBY', KEYS[1], 'g', 1)
local fields = {}
for _, field in ipairs(ARGV) do
  fields[#fields + 1] = field
  fields[#fields + 1] = stamp
end
redis.call('HSET', KEYS[1], unpack(fields))
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local alive = state[2] == run and tonumber(state[3] or 0) > now
return {run, alive and 1 or 0, state[1]}
