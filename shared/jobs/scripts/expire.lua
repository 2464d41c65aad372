#!lua flags=allow-oom
-- expire: now limit -> the ids ended because their deadline has passed
--@lib
local ids = call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local j = get(id)
  stop(j, late(j))
end
return ids
