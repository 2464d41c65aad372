#!lua flags=allow-oom
-- conclude: now host id what lease outcome due entry -> 1, or 0: the lease has passed and another holds the errand
--   outcome: done; retry, at due; later, the same but no try; dead: given up. entry: the attempt for the job's delivery log, or ""
--@lib
local _, host, id, what, lease, outcome, due, entry = unpack(ARGV)
local lane, name = key('outgoing', host), id..'|'..what
if what ~= 'progress' then
  if tonumber(call('ZSCORE', lane, name) or 0) ~= tonumber(lease) then return 0 end
  if outcome == 'retry' or outcome == 'later' then call('ZADD', lane, due, name) else call('ZREM', lane, name) end
  reschedule(host)
end
call('HINCRBY', TOTALS, 'outgoing:'..what..':'..outcome, 1)
local life, account = call('PTTL', key('job', id)), call('HGET', key('job', id), 'account')
if life == -2 and what ~= 'test' then return 1 end            -- the job was deleted meanwhile
local function keep(name)
  if life ~= -1 then call('PEXPIRE', name, life == -2 and 3600000 or life) end
end
if entry ~= '' then
  call('RPUSH', key('deliveries', id), entry)
  call('LTRIM', key('deliveries', id), -100, -1)
  keep(key('deliveries', id))
end
if outcome ~= 'done' and outcome ~= 'later' then
  call('HINCRBY', key('tries', id), what, 1)
  keep(key('tries', id))
end
if outcome == 'dead' and account then call('ZADD', key('dead', account), now, name) end
return 1
