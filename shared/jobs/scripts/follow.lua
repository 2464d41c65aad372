#!lua flags=allow-oom
-- follow: now id -> 1: an open job that keeps a stream of its events from here on; 0: unknown, or over
--@lib
local j = get(ARGV[2])
if not j or over(j) then return 0 end
follow(j)
return 1
