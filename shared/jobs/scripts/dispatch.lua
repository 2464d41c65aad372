#!lua flags=allow-oom
-- dispatch: now count per_host lease (host busy)... -> {next, {host, id, what, lease, tries}...}
--   leases work that is due to an io worker, at most so much for one host beside what it is busy with there; next: when
--   more will be due, -1 for never. An entry whose lease has passed is due again: its worker died.
--   progress is sent once or not at all, so that what comes meanwhile is an entry of its own
--@lib
local left, per_host, busy, out = tonumber(ARGV[2]), tonumber(ARGV[3]), {}, {-1}
local lease = now + ARGV[4]
for i = 5, #ARGV, 2 do busy[ARGV[i]] = tonumber(ARGV[i + 1]) end
for _, host in ipairs(call('ZRANGEBYSCORE', HOSTS, '-inf', now, 'LIMIT', 0, 1000)) do
  local lane, room = key('outgoing', host), math.min(left, per_host - (busy[host] or 0))
  if room > 0 then
    for _, entry in ipairs(call('ZRANGEBYSCORE', lane, '-inf', now, 'LIMIT', 0, room)) do
      local id, what = entry:match('^(.-)|(.*)$')
      if what == 'progress' then
        call('ZREM', lane, entry)
        if call('EXISTS', key('job', id)) == 1 then call('HSET', key('job', id), 'reported', now) end
      else
        call('ZADD', lane, lease, entry)
      end
      out[#out + 1] = {host, id, what, lease, tonumber(call('HGET', key('tries', id), what) or 0)}
      left = left - 1
    end
    reschedule(host)
  end
  if left <= 0 then break end
end
local later = call('ZRANGEBYSCORE', HOSTS, '('..now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if later[2] then out[1] = tonumber(later[2]) end
return out
