-- Moves delayed jobs whose time has come to their stream, the earliest first; returns how many.
-- KEYS: stream, delayed · ARGV: most jobs
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, payload in ipairs(due) do
  redis.call('XADD', KEYS[1], '*', 'p', payload)
  redis.call('ZREM', KEYS[2], payload)
end
return #due
