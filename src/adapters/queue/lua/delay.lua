-- Ends an entry and delivers its payload anew later, in one step. Repeating it changes nothing.
-- KEYS: stream, delayed · ARGV: group, id, payload, instant in ms
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], 'LT', ARGV[4], ARGV[3])
