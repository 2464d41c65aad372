#!lua
-- admit: now id bytes cost max_rows max_bytes account_bytes token -> {'admitted', ring, pool} {'full', 0, ''} {'gone', 0, ''}
--   a held job joins its queue, its inputs being here; bytes with them, cost as in submit
--   full: its queue or its account has no room now; gone: it is not held, since it was admitted before or has ended
-- Not allow-oom, as submit.
--@lib
local _, id, bytes, cost, max_rows, max_bytes, account_bytes, token = unpack(ARGV)
local j = get(id)
if not j or over(j) or not is_held(j) then return {'gone', 0, ''} end
local l = call('HMGET', key('load', j.queue), 'rows', 'bytes', 'v', 'f:'..j.flow)
local all = tonumber(call('HGET', key('account', j.account), 'bytes') or 0) + bytes - j.bytes
if (l[1] or 0) + j.rows > tonumber(max_rows) or (l[2] or 0) + bytes > tonumber(max_bytes) or
   all > tonumber(account_bytes) then
  return {'full', 0, ''}
end
unsend(j.held, id..'|fetch')
call('HDEL', key('tries', id), 'fetch')
call('HSET', key('account', j.account), 'bytes', all)
j.bytes, j.score = bytes, math.max(tonumber(l[3] or 0), tonumber(l[4] or 0)) + tonumber(cost)
call('HSET', key('job', id), 'held', '', 'bytes', bytes, 'score', j.score)
enter(j)
return {'admitted', ring(j.pool, token), j.pool}
