-- Adds jobs in order; those whose instant lies ahead wait in the sorted set, under the earliest instant asked for.
-- KEYS: stream, delayed · ARGV: payload, instant in ms (0: at once), …
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do
  if tonumber(ARGV[i + 1]) > now then
    redis.call('ZADD', KEYS[2], 'LT', ARGV[i + 1], ARGV[i])
  else
    redis.call('XADD', KEYS[1], '*', 'p', ARGV[i])
  end
end
