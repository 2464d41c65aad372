#!lua flags=allow-oom
-- release: now claim max_releases -> {ring, pool, id...} handed back at their old score
--   the max_releases-th release of one job makes it a suspect: it may be what makes workers stop; with 0 a release
--   does not count, as the reason is known and is not the job
--@lib
local all = call('HGETALL', key('claim', ARGV[2]))
local out, ids, most = {0, ''}, {}, tonumber(ARGV[3])
for i = 1, #all, 2 do
  local j = all[i] ~= '!' and get(all[i])        -- a record that is lost must not stop the others
  if j then
    local releases = j.releases + (most > 0 and 1 or 0)
    if most > 0 and releases >= most then j.suspect, j.line = '1', j.queue..'!' end
    call('HSET', key('job', j.id), 'status', 'starting', 'claim', '', 'releases', releases, 'suspect', j.suspect)
    put_back(j)
    ids[#ids + 1], out[2], out[#out + 1] = j.id, j.pool, j.id
  end
end
if #ids > 0 then
  free(ARGV[2], ids)
  out[1] = ring(out[2], ARGV[2])
end
return out
