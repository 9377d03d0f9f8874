-- A writer says, after its commit, what it has changed; its announcement is over.
--
-- KEYS  state
-- ARGV  run of this server if the caller knows it (see read), else '',
--       id of the announcement or '', number of topics it named, `c:<topic>` … of these,
--       `c:<topic>` … of what was changed (none: nothing, after all)
-- Reply {run of this server, 1 when a lease of it is alive or 0, epoch or ''}
-- Without an epoch nothing is valid, and there is nothing to raise.
local run = ARGV[1]
if run == '' then run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'until')
if not state[1] then return {run, 0, ''} end
local first = 4 + tonumber(ARGV[3])
if #ARGV >= first then
  local stamp = redis.call('HINCRBY', KEYS[1], 'g', 1)
  local fields = {}
  for argument = first, #ARGV do
    fields[#fields + 1] = ARGV[argument]
    fields[#fields + 1] = stamp
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end
if ARGV[2] ~= '' then  -- after the stamps: never neither
  for argument = 4, first - 1 do redis.call('ZREM', KEYS[1] .. ':' .. ARGV[argument], ARGV[2]) end
  redis.call('ZREM', KEYS[1] .. ':coming', ARGV[2])
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local alive = state[2] == run and tonumber(state[3] or 0) > now
return {run, alive and 1 or 0, state[1]}
