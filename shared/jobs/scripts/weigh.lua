#!lua flags=allow-oom
-- weigh: now id fetched account_bytes -> {'held', own} {'full', own} {'gone', 0}
--   what a held job fetches counts for its account from before it comes: so many bytes beside its own, as it was submitted
--   full: its account has no room for them, nothing is changed; gone: it is not held
--@lib
local j = get(ARGV[2])
if not j or over(j) or not is_held(j) then return {'gone', 0} end
local job, account = key('job', j.id), key('account', j.account)
call('HSETNX', job, 'own', j.bytes)
local own = tonumber(call('HGET', job, 'own'))
local more = own + ARGV[3] - j.bytes
local all = tonumber(call('HGET', account, 'bytes') or 0) + more
if more > 0 and all > tonumber(ARGV[4]) then return {'full', own} end
call('HSET', account, 'bytes', all)
call('HSET', job, 'bytes', own + ARGV[3])
return {'held', own}
