#!lua flags=allow-oom
-- expire: now limit -> the ids ended because their deadline has passed
--@lib
local ids = call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  local j = get(id)
  if j then stop(j, late(j)) else call('ZREM', OPEN, id) end   -- a record that is lost must not stop the others
end
return ids
