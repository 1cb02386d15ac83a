-- Makes every stream with its group; whoever has to make one gives the queue a new generation.
-- KEYS: generation, stream… · ARGV: group, a fresh generation · returns the generation
local made = false
for i = 2, #KEYS do
  local answer = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], '0', 'MKSTREAM')
  if not answer.err then
    made = true
  elseif not string.find(answer.err, 'BUSYGROUP', 1, true) then
    return answer
  end
end
if made then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'NX')
end
return redis.call('GET', KEYS[1])
