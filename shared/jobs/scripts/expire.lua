#!lua flags=allow-oom
-- expire: now limit -> the ids ended because their deadline has passed
--@lib
local ids = {}
for _, id in ipairs(call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local j = get(id)
  if not (j and newer(j)) then
    if j then stop(j, late(j)) else call('ZREM', OPEN, id) end   -- a record that is lost must not stop the others
    ids[#ids + 1] = id
  end
end
return ids
