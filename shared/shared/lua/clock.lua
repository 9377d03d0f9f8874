-- What a grant starts from. It must be asked before the database is.
--
-- KEYS  state
-- Reply {run, time in µs, epoch or '', run of the state or '', raised or '', feed or '',
--        schema version or ''}
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'raised', 'feed', 'schema')
local time = redis.call('TIME')
return {run, string.format('%.0f', time[1] * 1000000 + time[2]),
  state[1] or '', state[2] or '', state[3] or '', state[4] or '', state[5] or ''}
