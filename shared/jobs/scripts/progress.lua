#!lua flags=allow-oom
-- progress: now claim id attempt reset log_bytes facts log -> 1, or 0: refused, the job is no longer the caller's
--   reset 1: a checkpoint was kept, earlier deaths count no more; facts: a JSON object or ""; log: lines to append
--@lib
local _, claim, id, attempt, reset, log_bytes, facts, log = unpack(ARGV)
local j = get(id)
if not j or j.status ~= 'processing' or j.attempt ~= attempt or j.claim ~= claim then return 0 end
local data = key('data', id)
if reset == '1' then call('HSET', key('job', id), 'alone', 0) end
if facts ~= '' or log ~= '' then follow(j) end
if facts ~= '' then
  call('HSET', data, 'progress', facts)
  note(j, 'progress', facts)
end
if log ~= '' then
  local text = (call('HGET', data, 'logs') or '')..log
  if #text > tonumber(log_bytes) then            -- the newest lines, whole ones
    text = text:sub(-log_bytes)
    text = text:sub((text:find('\n', 1, true) or 0) + 1)
  end
  call('HSET', data, 'logs', text)
  note(j, 'log', log)
  if wants(j, 'l') then report(j) end
end
return 1
