#!lua flags=allow-oom
-- emit: now claim id attempt first count items -> how many items are kept now; -1: the job is no longer the caller's;
--   -2: nobody wants them, and nothing is kept
--   items: a JSON array of what the job has put out, count items from place first on; with a count of 0 only asks.
--   They are kept only if they follow on what is kept, so that a repeated call keeps nothing twice.
--@lib
local _, claim, id, attempt, first, count, items = unpack(ARGV)
local j = get(id)
if not j or j.status ~= 'processing' or j.attempt ~= attempt or j.claim ~= claim then return -1 end
if not j.followed and not wants(j, 'o') then return -2 end
local data = key('data', id)
local d = call('HMGET', data, 'output', 'emitted')
local kept = tonumber(d[2] or 0)
if tonumber(first) ~= kept or count == '0' then return kept end
kept = kept + count
call('HSET', data, 'output', d[2] and d[1]:sub(1, -2)..','..items:sub(2) or items, 'emitted', kept)
if j.followed then note_output(j, first, items) end
if wants(j, 'o') then report(j) end
return kept
