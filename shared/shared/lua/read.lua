-- One round trip of the gateway: rate limits, the lease, changed topics, remembered answers.
--
-- KEYS  state, the records of answers, the rate limits' buckets
-- ARGV  number of records, number of topics, run of this server if the caller knows it, else '',
--       `c:<topic>` …, then per bucket: interval and burst in µs
-- Reply {µs to wait}, when a limit refuses; {0}, when no lease of this very server is alive; else
--       {0, epoch, stamp, number of the first valid record (0 none, -1 one that is out of date), its
--       nonce, 1 while some change is announced (else 0), changed …}
-- What an announced change is about counts as changed already, and later than now.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local records, topics = tonumber(ARGV[1]), tonumber(ARGV[2])

-- all in one: a call costs more here than what it does
local found = #KEYS > 1 and redis.call('MGET', unpack(KEYS, 2)) or {}

local argument = 4 + topics
for bucket = 2 + records, #KEYS do
  local interval, burst = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
  argument = argument + 2
  local arrival = tonumber(found[bucket - 1] or now)
  if arrival < now then arrival = now end
  local next = arrival + interval
  if next - burst > now then return {math.ceil(next - burst - now)} end
  -- pcall: a full Redis refuses the write, not the reading
  redis.pcall('SET', KEYS[bucket], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
end

local state = redis.call(
  'HMGET', KEYS[1], 'epoch', 'run', 'until', 'g', 'c:all', unpack(ARGV, 4, 3 + topics))
if not state[1] or not state[3] or tonumber(state[3]) <= now then return {0} end
-- Asked each time: behind a proxy the connection may outlive the server it was opened to. Without
-- one the caller knows its server, and is spared what costs as much as all the rest.
local run = ARGV[3]
if run == '' then run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end
if state[2] ~= run then return {0} end

local all = tonumber(state[5] or 0)
local later, past = tonumber(state[4]) + 1, string.format('(%.0f', now)
local function coming(name) return redis.call('ZCOUNT', KEYS[1] .. ':' .. name, past, '+inf') > 0 end
local some = coming('coming')
if some and coming('c:all') then all = later end
local reply = {0, state[1], tonumber(state[4]), 0, '', some and 1 or 0}
for topic = 1, topics do
  local changed = math.max(all, tonumber(state[5 + topic] or 0))
  if some and coming(ARGV[3 + topic]) then changed = later end
  reply[6 + topic] = changed
end

local function valid(taken, depends)
  if all > taken then return false end
  local fields = {}
  for field in string.gmatch(depends, '%S+') do
    if some and coming(field) then return false end
    fields[#fields + 1] = field
  end
  if #fields == 0 then return true end
  for _, changed in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    if changed and tonumber(changed) > taken then return false end
  end
  return true
end

for number = 1, records do
  if found[number] then
    local epoch, taken, nonce, depends = string.match(found[number], '^(%S+) (%d+) (%S+) ?(.*)$')
    if epoch == state[1] and valid(tonumber(taken), depends) then
      reply[4], reply[5] = number, nonce
      return reply
    end
    reply[4] = -1
  end
end
return reply
