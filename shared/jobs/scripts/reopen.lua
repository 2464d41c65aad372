#!lua flags=allow-oom
-- reopen: now id... -> how many of these jobs are open and wait again; others are left as they are
--   after a restore, which brings records and nothing that follows from them: open jobs wait as if handed back just now
--@lib
local lines, n = {}, 0
for i = 2, #ARGV do
  local j = get(ARGV[i])
  if j and not newer(j) and not over(j) and not call('ZSCORE', OPEN, j.id) then
    call('ZADD', OPEN, j.deadline, j.id)
    call('HSET', key('job', j.id), 'status', 'starting', 'claim', '')
    call('HDEL', key('data', j.id), 'output', 'emitted')
    call('HINCRBY', key('account', j.account), 'rows', j.rows)
    call('HINCRBY', key('account', j.account), 'bytes', j.bytes)
    count(j.kind, 'starting', 1)
    if j.followed then note(j, 'status', 'starting') end
    if is_held(j) then
      send(j.held, j.id..'|fetch', now)
    else
      enter(j)
      lines[j.line] = true
    end
    n = n + 1
  end
end
for line in pairs(lines) do                      -- the virtual clock, or new jobs would overtake all of these
  local first = call('ZRANGE', key('queue', line), 0, 0, 'WITHSCORES')
  call('HSET', key('load', line), 'v', math.max(0, first[2] - 1))
end
return n
