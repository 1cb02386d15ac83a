-- Puts entries back so that a waiting reader wakes up at once. The delivery that is taken back does not count; one that came
-- after it means that another worker holds the entry now, and it is left alone.
-- KEYS: stream · ARGV: group, then id, deliveries, …
for i = 2, #ARGV, 2 do
  local id, deliveries = ARGV[i], tonumber(ARGV[i + 1])
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  local entry = redis.call('XRANGE', KEYS[1], id, id)
  if #pending > 0 and #entry > 0 then
    local payload, carried = '', 0
    for j = 1, #entry[1][2], 2 do
      if entry[1][2][j] == 'p' then payload = entry[1][2][j + 1] end
      if entry[1][2][j] == 'd' then carried = tonumber(entry[1][2][j + 1]) or 0 end
    end
    if carried + pending[1][4] == deliveries then
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('XDEL', KEYS[1], id)
      if deliveries > 1 then
        redis.call('XADD', KEYS[1], '*', 'p', payload, 'd', deliveries - 1)
      else
        redis.call('XADD', KEYS[1], '*', 'p', payload)
      end
    end
  end
end
