#!lua flags=allow-oom
-- redeliver: now id what -> 1: the webhook of that event goes out again now, its tries counted anew; 0: there is none
--@lib
local _, id, what = unpack(ARGV)
local j = get(id)
if not j or not wants(j, what == 'start' and 's' or 'c') then return 0 end
if what == 'start' and j.started == false or what == 'completed' and not over(j) then return 0 end
call('HDEL', key('tries', id), what)
call('ZREM', key('dead', j.account), id..'|'..what)
unsend(j.hook_host, id..'|'..what)
send(j.hook_host, id..'|'..what, now)
return 1
