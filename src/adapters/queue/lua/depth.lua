-- KEYS: stream, delayed · ARGV: group · returns entries, delayed, pending
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
local held = 0
if not pending.err then held = pending[1] end
return { redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), held }
