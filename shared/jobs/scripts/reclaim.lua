#!lua flags=allow-oom
-- reclaim: now limit max_alone token -> {{pool to ring...}, {given up...}, {back...}, {claim...}}
--   the jobs of lapsed claims become suspects in the side line; only deaths in the side line count against a job
--@lib
local out, n, limit = {{}, {}, {}, {}}, 0, tonumber(ARGV[2])
for _, claim in ipairs(call('ZRANGEBYSCORE', CLAIMS, '-inf', now, 'LIMIT', 0, limit)) do
  local all, alone = call('HGETALL', key('claim', claim)), nil
  local jobs, foreign = {}, false
  for i = 1, #all, 2 do
    if all[i] == '!' then alone = all[i + 1]:match(':(%d)$') == '1'
    else
      jobs[#jobs + 1] = get(all[i])              -- a record that is lost must not stop the others
      foreign = foreign or (jobs[#jobs] and newer(jobs[#jobs]))
    end
  end
  if not foreign then
    for _, j in ipairs(jobs) do
      local deaths = j.alone + (alone and 1 or 0)
      call('HSET', key('job', j.id), 'alone', deaths)
      if deaths >= tonumber(ARGV[3]) then
        finish(j, {status = 'failed', code = 'E1301',
                   error = 'E1301: '..deaths..' workers died while they ran this job alone'})
        table.insert(out[2], j.id)
      else
        call('HSET', key('job', j.id), 'status', 'starting', 'claim', '', 'suspect', 1)
        j.suspect, j.line = '1', j.queue..'!'
        put_back(j)
        table.insert(out[3], j.id)
        if ring(j.pool, ARGV[4]) == 1 then table.insert(out[1], j.pool) end
      end
      n = n + 1
    end
    call('DEL', key('claim', claim))
    call('ZREM', CLAIMS, claim)
    table.insert(out[4], claim)
  end
  if n >= limit then break end
end
return out
