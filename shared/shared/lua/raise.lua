-- A writer says, after its commit, what it has changed; its announcement is over.
--
-- KEYS  state
-- ARGV  id of the announcement or '', `c:<topic>` … (none: nothing was changed after all)
-- Reply {run of this server, 1 when a lease of it is alive or 0, epoch or ''}
-- Without an epoch nothing is valid, and there is nothing to raise.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'until', 'coming')
if not state[1] then return {run, 0, ''} end
if #ARGV > 1 then
  local stamp = redis.call('HINCRBY', KEYS[1], 'g', 1)
  local fields = {}
  for argument = 2, #ARGV do
    fields[#fields + 1] = ARGV[argument]
    fields[#fields + 1] = stamp
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if state[4] and ARGV[1] ~= '' then
  local kept = {}
  for one, ends, id in string.gmatch(state[4], '((%d+) (%S+) [^;]*;)') do
    if id ~= ARGV[1] and tonumber(ends) > now then kept[#kept + 1] = one end
  end
  if #kept > 0 then
    redis.call('HSET', KEYS[1], 'coming', table.concat(kept))
  else
    redis.call('HDEL', KEYS[1], 'coming')
  end
end
local alive = state[2] == run and tonumber(state[3] or 0) > now
return {run, alive and 1 or 0, state[1]}
