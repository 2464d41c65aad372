#!lua flags=allow-oom
-- look: now pool token -> up to 16 lines with work, the next in turn first
--   with none, the bell is put away if it is the message's own
--@lib
local lines = call('ZRANGE', key('ready', ARGV[2]), 0, 15)
if #lines == 0 and call('GET', key('bell', ARGV[2])) == ARGV[3] then call('DEL', key('bell', ARGV[2])) end
return lines
