#!lua flags=no-writes
-- check: now max_rows max_bytes keep retain -> what is wrong, one sentence each; empty where all is well
--   recomputes everything that follows from the job records, from the records alone
--@lib
local max_rows, max_bytes, keep, retain = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local bad, keys = {}, {}
local function no(...) bad[#bad + 1] = table.concat({...}, ' ') end
for _, name in ipairs(call('KEYS', P..':*')) do   -- kind -> rest of the name -> true
  local kind, rest = name:sub(#P + 2):match('^([^:]*):?(.*)$')
  keys[kind] = keys[kind] or {}
  keys[kind][rest] = true
end
local function each(kind) return pairs(keys[kind] or {}) end
local function has(kind, rest) return keys[kind] and keys[kind][rest] end
local function score(set, member) return tonumber(call('ZSCORE', set, member) or nil) end
local function add(sums, name, rows, bytes)
  local s = sums[name] or {n = 0, rows = 0, bytes = 0, flows = {}, tops = {}}
  sums[name] = s
  s.n, s.rows, s.bytes = s.n + 1, s.rows + rows, s.bytes + bytes
  return s
end
local function lives(name, longest)              -- an ended job's key: it has a life, and not too long a one
  local ttl = call('PTTL', name)
  return ttl == -2 or (ttl >= 0 and ttl <= longest)
end

local lines, claims, accounts, opens, pools, counts = {}, {}, {}, 0, {}, {}
for id in each('job') do
  local j, name = get(id), key('job', id)
  local ended = tonumber(call('HGET', name, 'ended') or nil)
  local due, data = score(OPEN, id), call('PTTL', key('data', id))
  local retired = score(P..':retired', j.account..'|'..j.kind..'|'..id)
  if score(key('list', j.account..':'..j.kind), id) ~= tonumber(j.created) then no('not in its listing', id) end
  if j.idem ~= '' and (call('GET', key('idem', j.idem)) or ''):match('^(.-)|') ~= id then no('idem names another', id) end
  if over(j) then
    if not ended then no('over without an end', id) end
    if call('PTTL', name) < 0 or not lives(name, keep) then no('over without a life', id) end
    if not lives(key('data', id), retain) then no('data of an ended job without its life', id) end
    if not lives(key('events', id), retain) then no('events of an ended job without their life', id) end
    if j.idem ~= '' and not lives(key('idem', j.idem), keep) then no('idem of an ended job without its life', id) end
    if due then no('over but open', id) end
    if has('waiters', id) then no('over and somebody still waits', id) end
    if retired ~= ended + j.keep then no('not retired at its time', id) end
    if j.spill ~= '' and data ~= -2 and score(P..':spilled', j.spill) ~= ended + j.retain then no('spill without its time', id) end
    for _, line in ipairs({j.queue, j.queue..'!'}) do
      if score(key('queue', line), id) then no('over but queued', id) end
    end
  else
    opens = opens + 1
    counts[j.kind..':'..j.status] = (counts[j.kind..':'..j.status] or 0) + 1
    add(accounts, j.account, j.rows, j.bytes)
    if ended then no('open with an end', id) end
    if call('PTTL', name) ~= -1 then no('open with a life', id) end
    if data ~= -1 then no('open and its data', data == -2 and 'gone' or 'dying', id) end
    if call('HEXISTS', key('data', id), 'input') == 0 then no('open without input', id) end
    if has('events', id) and call('PTTL', key('events', id)) ~= -1 then no('open and its events dying', id) end
    if due ~= tonumber(j.deadline) then no('not open at its deadline', id) end
    if j.idem ~= '' and call('PTTL', key('idem', j.idem)) ~= -1 then no('idem gone or dying before its job', id) end
    if retired then no('open but retired', id) end
    for _, path in ipairs({j.spill, j.scratch}) do
      if path and path ~= '' and score(P..':spilled', path) then no('open and to be deleted', path) end
    end
  end
  if j.status == 'starting' and is_held(j) then
    if not score(key('outgoing', j.held), id..'|fetch') then no('held and nobody fetches', id) end
    if score(key('queue', j.queue), id) then no('held and queued', id) end
    if j.claim ~= '' then no('held with a claim', id) end
  elseif j.status == 'starting' then
    local l = add(lines, j.line, j.rows, j.bytes)
    l.pool = j.pool
    l.flows[j.flow] = (l.flows[j.flow] or 0) + 1
    l.tops[j.flow] = math.max(l.tops[j.flow] or 0, tonumber(j.score))
    if score(key('queue', j.line), id) ~= tonumber(j.score) then no('not queued at its score', id) end
    if score(key('born', j.line), id) ~= tonumber(j.created) then no('its age is not known', id) end
    if j.claim ~= '' then no('waiting with a claim', id) end
  elseif j.status == 'processing' then
    if call('HGET', key('claim', j.claim), id) ~= j.attempt then no('its claim does not hold', id) end
    local c = add(claims, j.claim, j.rows, j.bytes)
    if j.suspect == '1' then c.suspect = true end
  end
end
if call('ZCARD', OPEN) ~= opens then no('ghost among the open') end
local totals = call('HGETALL', TOTALS)
for i = 1, #totals, 2 do
  local name, n = totals[i], tonumber(totals[i + 1])
  totals[name] = n
  if (name:find(':starting$') or name:find(':processing$')) and n ~= (counts[name] or 0) then
    no('count of open jobs', name)
  end
end
for name in pairs(counts) do
  if not totals[name] then no('open jobs are not counted', name) end
end

for line, l in pairs(lines) do
  local load = key('load', line)
  if call('ZCARD', key('queue', line)) ~= l.n then no('length of line', line) end
  if tonumber(call('HGET', load, 'rows') or nil) ~= l.rows then no('rows of line', line) end
  if tonumber(call('HGET', load, 'bytes') or nil) ~= l.bytes then no('bytes of line', line) end
  for flow, n in pairs(l.flows) do
    if tonumber(call('HGET', load, 'n:'..flow) or 0) ~= n then no('count of flow', line, flow) end
    if tonumber(call('HGET', load, 'f:'..flow) or -1) < l.tops[flow] then no('finish of flow', line, flow) end
  end
  if not score(key('ready', l.pool), line) then no('work that is not ready', line) end
  pools[l.pool] = (pools[l.pool] or 0) + 1
end
for line in each('queue') do
  if not lines[line] then no('ghost line', line) end
end
for line in each('born') do
  if call('ZCARD', key('born', line)) ~= (lines[line] and lines[line].n) then no('ghost age', line) end
end
for line in each('load') do
  local l, all = lines[line], call('HGETALL', key('load', line))
  for i = 1, #all, 2 do
    local f, value = all[i], all[i + 1]
    if (f == 'rows' or f == 'bytes') and not l and value ~= '0' then no('ghost load', line, f) end
    if f:sub(2, 2) == ':' and not (l and l.flows[f:sub(3)]) then no('ghost flow', line, f) end
  end
  if line:sub(-1) == '!' and not l then no('load of an empty side line', line) end
end
for pool in each('ready') do
  if call('ZCARD', key('ready', pool)) ~= (pools[pool] or 0) then no('ghost ready', pool) end
  if not has('bell', pool) then no('work and no bell', pool) end
  if call('SISMEMBER', P..':pools', pool) == 0 then no('a pool no sweep knows', pool) end
end

local held = 0
for claim, c in pairs(claims) do
  held = held + 1
  local meta, lease = call('HGET', key('claim', claim), '!') or '0:0', score(CLAIMS, claim)
  if not lease then no('claim without lease', claim)
  elseif lease > tonumber(meta:match('^%d+')) then no('lease past the hard deadline', claim) end
  if call('HLEN', key('claim', claim)) ~= c.n + 1 then no('claim with ghosts', claim) end
  if c.n > 1 and (c.rows > max_rows or c.bytes > max_bytes) then no('batch too big', claim) end
  if c.suspect and (c.n > 1 or meta:sub(-2) ~= ':1') then no('suspect in company', claim) end
end
if call('ZCARD', CLAIMS) ~= held then no('ghost among the claims') end
for claim in each('claim') do
  if not claims[claim] then no('ghost claim', claim) end
end

for account, a in pairs(accounts) do
  local sums = call('HMGET', key('account', account), 'rows', 'bytes')
  if tonumber(sums[1] or nil) ~= a.rows or tonumber(sums[2] or nil) ~= a.bytes then no('sums of account', account) end
end
for account in each('account') do
  if not accounts[account] then no('ghost account', account) end
end
for name in each('list') do
  for _, id in ipairs(call('ZRANGE', key('list', name), 0, -1)) do
    local retired = score(P..':retired', name:gsub(':', '|', 1)..'|'..id)
    if not has('job', id) and not (retired and retired <= now) then no('ghost in a listing', id) end
  end
end
for _, entry in ipairs(call('ZRANGE', P..':retired', 0, -1)) do
  local id = entry:match('([^|]*)$')
  if not has('job', id) and score(P..':retired', entry) > now then no('ghost among the retired', id) end
end
for _, kind in ipairs({'data', 'events', 'waiters', 'deliveries', 'tries'}) do
  for id in each(kind) do
    if not has('job', id) then no('ghost', kind, id) end
  end
end
for host in each('outgoing') do
  local first
  for _, entry in ipairs(call('ZRANGE', key('outgoing', host), 0, -1)) do
    local id, what = entry:match('^(.-)|(.*)$')
    local j, due = id and get(id), score(key('outgoing', host), entry)
    first = first or due
    local right = j and (
      what == 'completed' and wants(j, 'c') and over(j) and host == j.hook_host or
      what == 'start' and wants(j, 's') and j.started and host == j.hook_host or
      what == 'progress' and (wants(j, 'o') or wants(j, 'l')) and j.started and host == j.hook_host or
      what == 'fetch' and is_held(j) and not over(j) and host == j.held)
    if what == 'progress' and right and wants(j, 'c') and over(j) then right = false end
    if not right then no('outgoing', host, entry) end
  end
  local pause = tonumber(call('GET', key('pause', host)) or 0)
  if score(HOSTS, host) ~= math.max(first, pause) then no('host not looked at in time', host) end
end
for _, host in ipairs(call('ZRANGE', HOSTS, 0, -1)) do
  if not has('outgoing', host) then no('ghost host', host) end
end
for id in each('events') do
  if not get(id).followed then no('events that nobody follows', id) end
end
for name in each('idem') do
  if call('PTTL', key('idem', name)) == -1 then
    local id = call('GET', key('idem', name)):match('^(.-)|')
    if not score(OPEN, id) then no('idem for ever', name) end
  end
end
return bad
