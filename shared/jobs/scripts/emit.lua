#!lua flags=allow-oom
-- emit: now claim id attempt items -> 1, or 0: refused, the job is no longer the caller's
--   items: a JSON array, not empty, of what the job has put out since the last time; kept only where somebody wants it
--@lib
local _, claim, id, attempt, items = unpack(ARGV)
local j = get(id)
if not j or j.status ~= 'processing' or j.attempt ~= attempt or j.claim ~= claim then return 0 end
if not j.followed and not wants(j, 'o') then return 1 end
local data = key('data', id)
local before = call('HGET', data, 'output')
call('HSET', data, 'output', before and before:sub(1, -2)..','..items:sub(2) or items)
if j.followed then note(j, 'output', items) end
if wants(j, 'o') then report(j) end
return 1
