#!lua flags=allow-oom
-- history: now id after count -> {dropped, {stream id, {'event', event, 'data', text}}...}
--   what happened to a job that is followed, from an entry of its stream on, which comes first again; "" for the start
--   dropped: entries that the stream has let go since its start; -1 where the entry is still there, so none since it
--@lib
local _, id, after, count = unpack(ARGV)
local stream = key('events', id)
local entries = call('XRANGE', stream, after == '' and '-' or after, '+', 'COUNT', count)
local dropped = 0
if after ~= '' and entries[1] and entries[1][1] == after then
  dropped = -1
elseif call('EXISTS', stream) == 1 then
  local facts = {}
  local info = call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do facts[info[i]] = info[i + 1] end
  dropped = facts['entries-added'] - facts['length']
end
return {dropped, unpack(entries)}
