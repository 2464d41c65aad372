#!lua flags=allow-oom
-- take: now line pool claim max_rows max_bytes lease hard solo token scan
--   lease and hard in milliseconds from now; solo 1: the process holds no other claim; token: of the message that woke
--   the worker, "" in a drain's later takes; scan <= 100, the entries looked at.
-- Idempotent by claim. A suspect is taken alone, and only by a process that holds nothing else.
-- -> {ring, left, hard, now, {ended...}, {id, attempt, rows, deadline, input, spill}...}
--   ring 1: send a message with token = claim; left 1: the line has more work
--@lib
local _, line, pool, claim, max_rows, max_bytes, lease, hard, solo, token, scan = unpack(ARGV)
local bell, queue, held_by, alone = key('bell', pool), key('queue', line), key('claim', claim), line:sub(-1) == '!'
max_rows, max_bytes, hard = tonumber(max_rows), tonumber(max_bytes), now + hard

local function handed(id, attempt)
  local d, r = call('HGET', key('data', id), 'input'), call('HMGET', key('job', id), 'rows', 'deadline', 'spill')
  return {id, tonumber(attempt), tonumber(r[1]), tonumber(r[2]), d or '', r[3]}
end

if call('EXISTS', held_by) == 1 then             -- our first answer was lost on its way
  local meta = call('HGET', held_by, '!')
  local out = {call('GET', bell) == claim and 1 or 0, call('EXISTS', queue), tonumber((meta:match('^%d+'))), now, {}}
  local all = call('HGETALL', held_by)
  for i = 1, #all, 2 do
    if all[i] ~= '!' then out[#out + 1] = handed(all[i], all[i + 1]) end
  end
  return out
end

if token ~= '' and call('GET', bell) == token then call('DEL', bell) end
local got, gone, rows, bytes, taken = {}, {}, 0, 0, {'!', hard..':'..(alone and 1 or 0)}
if solo == '1' or not alone then
  for _, id in ipairs(call('ZRANGE', queue, 0, scan - 1)) do
    local j = get(id)
    if not j then
      call('ZREM', queue, id)                    -- a record that is lost must not stop the line
      call('ZREM', key('born', line), id)
    elseif newer(j) then
      break                                      -- left to workers of its release, who are rung for below
    elseif tonumber(j.deadline) <= now then
      gone[#gone + 1] = j
    elseif #got > 0 and (alone or rows + j.rows > max_rows or bytes + j.bytes > max_bytes) then
      break                                      -- never skip over a big one: it would starve
    else
      got[#got + 1], rows, bytes = j, rows + j.rows, bytes + j.bytes
    end
  end
end
leave(line, pool, gone)
for i, j in ipairs(gone) do finish(j, late(j)); gone[i] = j.id end
leave(line, pool, got)
local out, kinds = {0, 0, hard, now, gone}, {}
for _, j in ipairs(got) do
  local attempt = j.attempt + 1                  -- grows at every take and never falls: a fence, not a count of sins
  call('HSET', key('job', j.id), 'status', 'processing', 'attempt', attempt, 'claim', claim, 'started', now)
  if j.followed then note(j, 'status', 'processing') end
  if attempt == 1 and wants(j, 's') then send(j.hook_host, j.id..'|start', now) end
  taken[#taken + 1], taken[#taken + 2], kinds[j.kind] = j.id, attempt, (kinds[j.kind] or 0) + 1
  out[#out + 1] = handed(j.id, attempt)
end
for kind, n in pairs(kinds) do
  count(kind, 'starting', -n)
  count(kind, 'processing', n)
end
if #got > 0 then
  call('HSET', held_by, unpack(taken))
  call('ZADD', CLAIMS, math.min(now + lease, hard), claim)
  if not alone then                              -- the virtual clock never runs back
    local v = tonumber(call('HGET', key('load', line), 'v') or 0)
    call('HSET', key('load', line), 'v', math.max(v, tonumber(got[#got].score)))
  end
end
if call('EXISTS', queue) == 1 then
  out[2] = 1
  call('ZADD', key('ready', pool), turn(pool), line)
end
if call('EXISTS', key('ready', pool)) == 1 then out[1] = ring(pool, claim) end
return out
