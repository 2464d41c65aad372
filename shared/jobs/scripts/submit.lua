#!lua
-- submit: now id queue pool account priority rows bytes cost life keep retain idem hash
--         max_rows max_bytes account_rows account_bytes waiter input (field value)...
--   life, keep and retain in milliseconds; idem is "" or account:key; waiter is "" or the channel to wake at the end;
--   cost is an integer >= 1, the priority's weight times the job's share of a batch in rows.
-- Not allow-oom: a full server refuses it. Idempotent by id, which the caller makes before its first try.
-- -> {'new', id, ring, now} {'dup', id, ring} {'conflict', id, 0} {'full', 'queue' or 'account', rows waiting}
--@lib
local _, id, queue, pool, account, priority, rows, bytes, cost, life, keep, retain, idem, hash,
      max_rows, max_bytes, account_rows, account_bytes, waiter, input = unpack(ARGV, 1, 20)

local function watch(known)
  if waiter ~= '' then
    call('SADD', key('waiters', known), waiter)
    call('PEXPIRE', key('waiters', known), 120000)
  end
end
local function again(known)                      -- rings again if our first answer was lost on its way
  if waiter ~= '' and call('ZSCORE', OPEN, known) then watch(known) end
  return {'dup', known, known == id and call('GET', key('bell', pool)) == id and 1 or 0}
end

if idem ~= '' then
  local old = call('GET', key('idem', idem))
  if old then
    local known, same = old:match('^(.-)|(.*)$')
    if same ~= hash then return {'conflict', known, 0} end
    return again(known)
  end
end
if call('EXISTS', key('job', id)) == 1 then return again(id) end

local load, flow = key('load', queue), account..':'..priority
local l = call('HMGET', load, 'rows', 'bytes', 'v', 'f:'..flow, 'n:'..flow)
local waiting = tonumber(l[1] or 0)
if waiting + rows > tonumber(max_rows) or (l[2] or 0) + bytes > tonumber(max_bytes) then
  return {'full', 'queue', waiting}
end
local a = call('HMGET', key('account', account), 'rows', 'bytes')
if (a[1] or 0) + rows > tonumber(account_rows) or (a[2] or 0) + bytes > tonumber(account_bytes) then
  return {'full', 'account', tonumber(a[1] or 0)}
end

local score = math.max(tonumber(l[3] or 0), tonumber(l[4] or 0)) + tonumber(cost)
call('HSET', key('job', id), 'status', 'starting', 'attempt', 0, 'claim', '', 'queue', queue, 'pool', pool,
  'account', account, 'priority', priority, 'flow', flow, 'rows', rows, 'bytes', bytes, 'suspect', 0,
  'deadline', now + life, 'score', score, 'alone', 0, 'releases', 0, 'idem', idem, 'keep', keep, 'retain', retain,
  'created', now, unpack(ARGV, 21))
call('HSET', key('data', id), 'input', input)
call('ZADD', OPEN, now + life, id)
local kind, fetch_host, model, followed, sources =
  unpack(call('HMGET', key('job', id), 'kind', 'held', 'model', 'followed', 'sources'))
if sources then                                  -- URLs of the input, which go when the input goes
  call('HDEL', key('job', id), 'sources')
  call('HSET', key('data', id), 'sources', sources)
end
call('ZADD', key('list', account..':'..kind), now, id)
count(kind, 'starting', 1)
if followed then note({id = id}, 'status', 'starting') end   -- with the record, so that its reader misses nothing
if idem ~= '' then call('SET', key('idem', idem), id..'|'..hash) end
call('HSET', key('account', account), 'rows', (a[1] or 0) + rows, 'bytes', (a[2] or 0) + bytes)
if model and model ~= '' and (kind == 'prediction' or kind == 'training') then call('HINCRBY', P..':runs', model, 1) end
if fetch_host and fetch_host ~= '' then          -- admit.lua lets it into its queue
  send(fetch_host, id..'|fetch', now)
  watch(id)
  return {'new', id, 0, now}
end
if waiting == 0 then open_line(pool, queue) end
call('ZADD', key('queue', queue), score, id)
call('ZADD', key('born', queue), now, id)
call('HSET', load, 'rows', waiting + rows, 'bytes', (l[2] or 0) + bytes, 'f:'..flow, score, 'n:'..flow, (l[5] or 0) + 1)
watch(id)
return {'new', id, ring(pool, id), now}
