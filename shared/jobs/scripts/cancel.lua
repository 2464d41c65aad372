#!lua flags=allow-oom
-- cancel: now id -> the status before, '' where there is no such job; what has ended stays as it is
--@lib
local j = get(ARGV[2])
if not j then return '' end
if newer(j) and not over(j) then return NEWER end
if not over(j) then stop(j, CANCELED) end
return j.status
