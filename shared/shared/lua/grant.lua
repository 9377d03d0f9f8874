-- The relay raises what the feed holds above `raised`, and prolongs the lease.
--
-- KEYS  state
-- ARGV  run and epoch of the clock, end of the lease in µs, an epoch to begin if one must,
--       feed epoch, position, schema version, `c:<topic>` …
-- Reply the epoch that is leased, or '' when refused: another server, or the state is gone or new,
--       so that the clock was another's.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'until', 'feed', 'raised')
if run ~= ARGV[1] or (state[1] or '') ~= ARGV[2] then return '' end

local epoch, ends = state[1], tonumber(ARGV[3])
local position = tonumber(ARGV[6])
if not epoch or state[2] ~= run or state[4] ~= ARGV[5] or tonumber(state[5] or 0) > position then
  -- A new run may have an old dump; another feed, or one that went back, another past.
  redis.call('DEL', KEYS[1])
  epoch = ARGV[4]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', run, 'g', 0, 'feed', ARGV[5])
else
  ends = math.max(ends, tonumber(state[3] or 0))
  if #ARGV > 7 then
    local stamp = redis.call('HINCRBY', KEYS[1], 'g', 1)
    for argument = 8, #ARGV do redis.call('HSET', KEYS[1], ARGV[argument], stamp) end
  end
end
redis.call('HSET', KEYS[1],
  'raised', ARGV[6], 'schema', ARGV[7], 'until', string.format('%.0f', ends))
return epoch
