#!lua flags=allow-oom
-- refuse: now id error code -> 1: the held job has failed, its inputs cannot be had; 0: it is not held
--@lib
local j = get(ARGV[2])
if not j or over(j) or not is_held(j) then return 0 end
stop(j, {status = 'failed', error = ARGV[3], code = ARGV[4]})
return 1
