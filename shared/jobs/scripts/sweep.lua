#!lua flags=allow-oom
-- sweep: now pool broker_empty period token -> 1: send a message with the token
--   ready work and no bell, or a bell whose message is nowhere: the lost message is stale from here on
--@lib
local _, pool, broker_empty, period, token = unpack(ARGV)
local bell, nudge = key('bell', pool), key('nudge', pool)
if call('EXISTS', key('ready', pool)) == 0 then return 0 end
if call('EXISTS', bell) == 1 then
  if broker_empty ~= '1' then return 0 end
  local last = tonumber(call('GET', nudge) or 0)
  if now >= last and now - last < tonumber(period) then return 0 end   -- one process a period, also after a step back
end
call('SET', nudge, now)
call('SET', bell, token)
return 1
