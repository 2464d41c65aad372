-- The head of every script: the keys, the record, and the moves that all scripts share.
--
-- KEYS[1] is the tag of a shard, "headrace:{a}"; every key begins with it (shared/keyspace.py lists them), so a script
-- touches one slot. ARGV[1] is the clock in milliseconds, 0 for the server's own; only tests pass another.
-- A job waits in a line: its queue, or queue.."!" once it is a suspect. A flow is account:priority.
-- The record job:{id} is the truth. Queues, loads, claims and all else follow from it, and check.lua recomputes them.
local call, P, now = redis.call, KEYS[1], tonumber(ARGV[1])
if now == 0 then
  local t = call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local OPEN, CLAIMS, HOSTS, TOTALS = P..':open', P..':claims', P..':outgoing-hosts', P..':totals'
local function key(kind, name) return P..':'..kind..':'..name end

local FIELDS = {'status', 'attempt', 'claim', 'queue', 'pool', 'flow', 'account', 'kind', 'rows', 'bytes', 'suspect',
                'deadline', 'deadline_by', 'score', 'alone', 'releases', 'idem', 'keep', 'retain', 'spill', 'hook',
                'created', 'started', 'scratch', 'hook_host', 'held', 'followed', 'schema'}
local function get(id)                           -- the record, or nil
  local values = call('HMGET', key('job', id), unpack(FIELDS))
  if not values[1] then return nil end
  local j = {id = id}
  for i, field in ipairs(FIELDS) do j[field] = values[i] end
  j.line = j.suspect == '1' and j.queue..'!' or j.queue
  return j
end

-- A record of a later release may owe at its end what is not known here: that release takes, ends and reclaims it.
local SCHEMA = 2
local function newer(j) return tonumber(j.schema or 1) > SCHEMA end
local NEWER = {err = 'NEWER this job was made by a later release'}

local function over(j) return j.status ~= 'starting' and j.status ~= 'processing' end

local function is_held(j) return j.held and j.held ~= '' end   -- its inputs are still being fetched: it is in no line

local function wants(j, letter) return j.hook:find(letter, 1, true) end

-- Work for the world outside waits in a lane of its host; an entry is id|what, its score the time when it is due.
-- Downloads have lanes of their own, fetch@host, so that a pause or a crowd of webhooks keeps no job from its inputs. A
-- held job keeps the name of its lane in its record; one of an earlier release may name a host alone.
local function is_fetch_lane(host) return host:sub(1, 6) == 'fetch@' end

local function send(host, entry, due)
  if call('ZADD', key('outgoing', host), 'NX', due, entry) == 0 then return end
  call('ZADD', HOSTS, 'LT', math.max(due, tonumber(call('GET', key('pause', host)) or 0)), host)
  if due < now + 5000 then call('PUBLISH', P..':outgoing', host) end   -- io workers look by themselves that often
end

local function reschedule(host)                  -- after a change of its lane: when the host is to be looked at again
  local first = call('ZRANGE', key('outgoing', host), 0, 0, 'WITHSCORES')
  if not first[1] then return call('ZREM', HOSTS, host) end
  call('ZADD', HOSTS, math.max(tonumber(first[2]), tonumber(call('GET', key('pause', host)) or 0)), host)
end

local function unsend(host, entry)
  if call('ZREM', key('outgoing', host), entry) == 1 then reschedule(host) end
end

local function note(j, event, text)              -- for those who follow the job
  call('XADD', key('events', j.id), 'MAXLEN', '~', 1000, '*', 'event', event, 'data', text)
  call('PUBLISH', P..':noted', j.id)
end

local function note_output(j, first, items)      -- first: the place of the first of these items in the whole output
  note(j, 'output', '{"first":'..first..',"items":'..items..'}')
end

local function follow(j)                         -- from here on the job keeps a stream of its events
  if j.followed then return end
  call('HSET', key('job', j.id), 'followed', 1)
  note(j, 'status', j.status)
  local d = call('HMGET', key('data', j.id), 'output', 'emitted')
  if d[2] then note_output(j, 0, d[1]) end
end

local function report(j)                         -- tells the receiver that there is more: at most once in 500 ms
  local last = tonumber(call('HGET', key('job', j.id), 'reported') or 0)
  send(j.hook_host, j.id..'|progress', math.max(now, last + 500))
end

local function ring(pool, token)                 -- 1: the caller now sends one message that carries the token
  return call('SET', key('bell', pool), token, 'NX') and 1 or 0
end

local function turn(pool)                        -- the last place in the pool's round; no step of the clock can hurt it
  local top = call('ZRANGE', key('ready', pool), -1, -1, 'WITHSCORES')
  return math.max(now, top[2] and tonumber(top[2]) + 1 or 0)
end

local function open_line(pool, line)             -- an empty line gets work
  call('ZADD', key('ready', pool), turn(pool), line)
  call('SADD', P..':pools', pool)
end

local function count(kind, status, n) call('HINCRBY', TOTALS, kind..':'..status, n) end

local function enter(j)                          -- the job waits in its line, again at the score it was given once
  local load = key('load', j.line)
  call('ZADD', key('born', j.line), j.created, j.id)
  if call('EXISTS', key('queue', j.line)) == 0 then open_line(j.pool, j.line) end
  call('ZADD', key('queue', j.line), j.score, j.id)
  call('HINCRBY', load, 'rows', j.rows)
  call('HINCRBY', load, 'bytes', j.bytes)
  call('HINCRBY', load, 'n:'..j.flow, 1)
  local f = call('HGET', load, 'f:'..j.flow)
  if not f or tonumber(f) < tonumber(j.score) then call('HSET', load, 'f:'..j.flow, j.score) end
end

local function put_back(j)                       -- a job that was taken waits again: what it put out so far counts no more
  call('HDEL', key('data', j.id), 'output', 'emitted')
  if j.followed then note(j, 'status', 'starting') end
  count(j.kind, 'processing', -1)
  count(j.kind, 'starting', 1)
  enter(j)
end

local function leave(line, pool, jobs)           -- these jobs wait no more
  if #jobs == 0 then return end
  local load, ids, rows, bytes, flows = key('load', line), {}, 0, 0, {}
  for i, j in ipairs(jobs) do
    ids[i], rows, bytes = j.id, rows + j.rows, bytes + j.bytes
    flows[j.flow] = (flows[j.flow] or 0) + 1
  end
  call('ZREM', key('queue', line), unpack(ids))
  call('ZREM', key('born', line), unpack(ids))
  call('HINCRBY', load, 'rows', -rows)
  call('HINCRBY', load, 'bytes', -bytes)
  for flow, n in pairs(flows) do                 -- a flow is forgotten with its last waiting job
    if call('HINCRBY', load, 'n:'..flow, -n) <= 0 then call('HDEL', load, 'n:'..flow, 'f:'..flow) end
  end
  if call('EXISTS', key('queue', line)) == 0 then
    call('ZREM', key('ready', pool), line)
    if line:sub(-1) == '!' then call('DEL', load) end
  end
end

local function free(claim, ids)                  -- the claim lets these jobs go, and ends with its last one
  call('HDEL', key('claim', claim), unpack(ids))
  if call('HLEN', key('claim', claim)) <= 1 then
    call('DEL', key('claim', claim))
    call('ZREM', CLAIMS, claim)
  end
end

local function wake(id)                          -- tells the API processes that wait for this job
  local waiters = key('waiters', id)
  for _, channel in ipairs(call('SMEMBERS', waiters)) do call('PUBLISH', channel, id) end
  call('DEL', waiters)
end

-- THE terminal move; the caller has left() the line or freed the claim. r holds status, and output or error and code;
-- by is the claim that settled it, kept in the record so that a repeated settle is known as the same.
local function finish(j, r, by)
  local job, data = key('job', j.id), key('data', j.id)
  call('ZREM', OPEN, j.id)
  call('HSET', job, 'status', r.status, 'ended', now, 'claim', by or '')
  if r.error then call('HSET', job, 'error', r.error, 'error_code', r.code) end
  if r.metrics and r.metrics ~= '' then call('HSET', job, 'metrics', r.metrics) end
  if r.output then
    call('HSET', data, 'output', r.output)
    local file = r.output:match('^artifact:(%S+)')    -- too large for a reply; it goes with the data
    if file then call('ZADD', P..':spilled', now + j.retain, file) end
  end
  call('PEXPIRE', job, j.keep)
  call('PEXPIRE', data, j.retain)
  if j.followed then
    note(j, 'status', r.status)
    call('PEXPIRE', key('events', j.id), j.retain)
  end
  if j.idem ~= '' then call('PEXPIRE', key('idem', j.idem), j.keep) end
  if j.spill ~= '' then call('ZADD', P..':spilled', now + j.retain, j.spill) end
  -- A minute later: a worker that does not know of the end yet may still write there.
  if j.scratch and j.scratch ~= '' then call('ZADD', P..':spilled', now + 60000, j.scratch) end
  call('ZADD', P..':retired', now + j.keep, j.account..'|'..j.kind..'|'..j.id)
  if wants(j, 'c') then
    unsend(j.hook_host, j.id..'|progress')       -- the end says all of it
    send(j.hook_host, j.id..'|completed', now)
  elseif r.status == 'succeeded' and wants(j, 'o') then
    report(j)                                    -- most models put everything out at their end
  end
  if j.hook_host and j.hook_host ~= '' then
    call('PEXPIRE', key('deliveries', j.id), j.keep)
    call('PEXPIRE', key('tries', j.id), j.keep)
  end
  local account = key('account', j.account)
  call('HINCRBY', account, 'bytes', -j.bytes)
  if call('HINCRBY', account, 'rows', -j.rows) <= 0 then call('DEL', account) end
  count(j.kind, j.status, -1)
  count(j.kind, r.status, 1)
  wake(j.id)
end

local CANCELED = {status = 'canceled', error = 'E1403: canceled on request', code = 'E1403'}
local function late(j)                           -- how a job ends whose deadline has passed
  if j.deadline_by == 'caller' then
    return {status = 'canceled', error = 'E1401: the deadline passed before the job ended', code = 'E1401'}
  end
  return {status = 'failed', error = 'E1402: the job grew older than jobs may without ending', code = 'E1402'}
end

local function stop(j, r)                        -- ends a job wherever it is
  if j.status ~= 'starting' then free(j.claim, {j.id})
  elseif is_held(j) then unsend(j.held, j.id..'|fetch')
    call('HDEL', key('tries', j.id), 'fetch')
  else leave(j.line, j.pool, {j}) end
  finish(j, r)
end
