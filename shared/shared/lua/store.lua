-- Record an answer whose body already lies beside it, unless its epoch is over.
--
-- KEYS  state, record
-- ARGV  epoch, record, life in ms
-- Reply 1 when recorded, else 0
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
