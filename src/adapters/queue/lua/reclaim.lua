-- Takes over entries whose lease has lapsed, and forgets consumers that are silent and hold nothing.
-- KEYS: stream · ARGV: group, consumer, lease in ms, most entries, silence in ms · returns id, payload, deliveries, …
local most, found, cursor, steps = tonumber(ARGV[4]), {}, '0-0', 0
repeat
  local page = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', most - #found / 3)
  cursor, steps = page[1], steps + 1
  for _, entry in ipairs(page[2]) do
    if entry and entry[2] then
      local payload, carried = '', 0
      for i = 1, #entry[2], 2 do
        if entry[2][i] == 'p' then payload = entry[2][i + 1] end
        if entry[2][i] == 'd' then carried = tonumber(entry[2][i + 1]) or 0 end
      end
      local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
      found[#found + 1] = entry[1]
      found[#found + 1] = payload
      found[#found + 1] = tostring(carried + pending[1][4])
    end
  end
until cursor == '0-0' or #found / 3 >= most or steps >= 100
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #row, 2 do consumer[row[i]] = row[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[5]) and consumer.name ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return found
