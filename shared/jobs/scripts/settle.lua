#!lua flags=allow-oom
-- settle: now claim batches decode_ms compute_ms (id attempt status value code metrics)...
--   value is the output of a job that succeeded, else the error; batches: rows of each call of the model, "64,12",
--   "" or "0" where there was none.
-- Refused job by job unless the record is processing at that attempt under that claim. A lapsed lease or deadline alone
-- changes nothing: what was computed counts until reclaim, cancel or expire has really run.
-- -> one of 'ok' 'same' 'lost' for each; 'same': this claim settled it before
--@lib
local claim, batches, decode_ms, compute_ms = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local out, mine, speeds = {}, {}, {}

local function drained(name, j)                  -- adds to what left a queue or an account, and since when it waited
  local s = speeds[name] or {rows = 0, since = j.created, begun = j.started}
  speeds[name] = {rows = s.rows + j.rows, since = math.min(s.since, j.created), begun = math.min(s.begun, j.started)}
end
local function learn(name, s)                    -- the last ten seconds in which work waited weigh most
  local pace = key('pace', name)
  local p = call('HMGET', pace, 'rows', 'ms', 'at')
  local ms = now - math.max(s.since, tonumber(p[3] or 0))
  ms = math.max(0, math.min(ms, now - s.begun + (p[3] and 2000 or 0)))   -- an hour without workers tells nothing
  local old = math.exp(-ms / 10000)
  call('HSET', pace, 'rows', (p[1] or 0) * old + s.rows, 'ms', (p[2] or 0) * old + ms, 'at', now)
  call('PEXPIRE', pace, 86400000)
end

for i = 6, #ARGV, 6 do
  local id, attempt, status, value, code, metrics = unpack(ARGV, i, i + 5)
  local j = get(id)
  if not j or j.attempt ~= attempt or j.claim ~= claim then
    out[#out + 1] = 'lost'
  elseif over(j) then
    out[#out + 1] = 'same'                       -- a terminal record keeps the claim only if that claim settled it
  else
    local ok = status == 'succeeded'
    finish(j, {status = status, output = ok and value or nil, error = not ok and value or nil, code = code,
               metrics = metrics}, claim)
    call('HINCRBY', TOTALS, 'queue_ms:'..j.kind, math.max(0, j.started - j.created))
    call('HINCRBY', TOTALS, 'run_ms:'..j.kind, math.max(0, now - j.started))
    mine[#mine + 1] = id
    drained(j.queue, j)
    drained(j.account..'|', j)
    out[#out + 1] = 'ok'
  end
end
if #mine > 0 then
  free(claim, mine)
  local counted = false
  for text in batches:gmatch('%d+') do
    local n, size = tonumber(text), 1
    if n > 0 then
      while size < n and size < 128 do size = size * 2 end
      call('HINCRBY', TOTALS, 'batches', 1)
      call('HINCRBY', TOTALS, 'batch_rows', n)
      call('HINCRBY', TOTALS, 'batch_rows_le:'..(n > 128 and 'inf' or size), 1)
      counted = true
    end
  end
  if counted then
    call('HINCRBYFLOAT', TOTALS, 'decode_ms', decode_ms)
    call('HINCRBYFLOAT', TOTALS, 'compute_ms', compute_ms)
    for name, s in pairs(speeds) do learn(name, s) end
  end
end
return out
