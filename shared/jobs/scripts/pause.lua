#!lua flags=allow-oom
-- pause: now host milliseconds -> 1: nothing of a host's lane is due before that; 0 ends the pause
--@lib
local _, host, span = unpack(ARGV)
if tonumber(span) > 0 then call('SET', key('pause', host), now + span, 'PX', span) else call('DEL', key('pause', host)) end
reschedule(host)
return 1
