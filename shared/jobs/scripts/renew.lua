#!lua flags=allow-oom
-- renew: now claim lease -> the ids still held; none: the claim is gone or past its hard deadline, so stop
--@lib
local held_by = key('claim', ARGV[2])
local meta = call('HGET', held_by, '!')
if not meta then return {} end
local hard = tonumber((meta:match('^%d+')))
if now >= hard then return {} end
call('ZADD', CLAIMS, 'XX', math.min(now + ARGV[3], hard), ARGV[2])
local ids = {}
for _, id in ipairs(call('HKEYS', held_by)) do
  if id ~= '!' then ids[#ids + 1] = id end
end
return ids
