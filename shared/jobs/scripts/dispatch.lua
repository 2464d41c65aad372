#!lua flags=allow-oom
-- dispatch: now count per_host lease fetches (host busy)... -> {next, {host, id, what, lease, tries}...}
--   leases work that is due to an io worker, at most so much for one host beside what it is busy with there; next: when
--   more will be due, -1 for never. An entry whose lease has passed is due again: its worker died.
--   fetches 1: looks at lanes of downloads only, 0: at all others only, so that neither takes the other's room.
--   progress is sent once or not at all, so that what comes meanwhile is an entry of its own
--@lib
local left, per_host, busy, out = tonumber(ARGV[2]), tonumber(ARGV[3]), {}, {-1}
local lease, fetches = now + ARGV[4], ARGV[5] == '1'
for i = 6, #ARGV, 2 do busy[ARGV[i]] = tonumber(ARGV[i + 1]) end
-- Downloads are looked for beyond any crowd of receivers that wait for room.
for _, host in ipairs(call('ZRANGEBYSCORE', HOSTS, '-inf', now, 'LIMIT', 0, fetches and 10000 or 1000)) do
  local lane, room = key('outgoing', host), math.min(left, per_host - (busy[host] or 0))
  if room > 0 and is_fetch_lane(host) == fetches then
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
