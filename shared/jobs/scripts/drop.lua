#!lua flags=allow-oom
-- drop: now line limit error code -> how many waiting jobs of a line were ended as failed
--@lib
local jobs = {}
for _, id in ipairs(call('ZRANGE', key('queue', ARGV[2]), 0, ARGV[3] - 1)) do
  local j = get(id)
  if j and not newer(j) then jobs[#jobs + 1] = j end
end
if #jobs > 0 then leave(ARGV[2], jobs[1].pool, jobs) end
for _, j in ipairs(jobs) do finish(j, {status = 'failed', error = ARGV[4], code = ARGV[5]}) end
return #jobs
