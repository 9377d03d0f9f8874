-- A writer says, after its commit, what it has changed; its announcement is over.
--
-- KEYS  state
-- ARGV  id of the announcement or '', number of topics it named, `c:<topic>` … of these,
--       `c:<topic>` … of what was changed (none: nothing, after all)
-- Reply {run of this server, 1 when a lease of it is alive or 0, epoch or ''}
-- Without an epoch nothing is valid, and there is nothing to raise.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'until')
if not state[1] then return {run, 0, ''} end
local first = 3 + tonumber(ARGV[2])
if #ARGV >= first then
  local stamp = redis.call('HINCRBY', KEYS[1], 'g', 1)
  local fields = {}
  for argument = first, #ARGV do
    fields[#fields + 1] = ARGV[argument]
    fields[#fields + 1] = stamp
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end
if ARGV[1] ~= '' then  -- after the stamps: never neither
  for argument = 3, first - 1 do redis.call('ZREM', KEYS[1] .. ':' .. ARGV[argument], ARGV[1]) end
  redis.call('ZREM', KEYS[1] .. ':coming', ARGV[1])
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local alive = state[2] == run and tonumber(state[3] or 0) > now
return {run, alive and 1 or 0, state[1]}
