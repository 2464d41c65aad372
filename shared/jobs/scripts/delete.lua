#!lua flags=allow-oom
-- delete: now id -> 1, or 0: not there, or not over yet
--   the idempotency key lives out its time, so that a late retry starts nothing
--@lib
local j = get(ARGV[2])
if not j or not over(j) then return 0 end
if newer(j) then return NEWER end
local file = (call('HGET', key('data', j.id), 'output') or ''):match('^artifact:(%S+)')
if file then call('ZADD', P..':spilled', 0, file) end
call('DEL', key('job', j.id), key('data', j.id), key('events', j.id), key('waiters', j.id))
call('ZREM', key('list', j.account..':'..j.kind), j.id)
call('ZREM', P..':retired', j.account..'|'..j.kind..'|'..j.id)
if j.hook_host and j.hook_host ~= '' then
  for _, what in ipairs({'start', 'progress', 'completed'}) do
    unsend(j.hook_host, j.id..'|'..what)
    call('ZREM', key('dead', j.account), j.id..'|'..what)
  end
  call('DEL', key('deliveries', j.id), key('tries', j.id))
end
if j.spill ~= '' then call('ZADD', P..':spilled', 0, j.spill) end
return 1
