#!lua flags=allow-oom
-- forget: now limit -> how many entries of listings were dropped because their records have expired
--@lib
local entries = call('ZRANGEBYSCORE', P..':retired', '-inf', now, 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(entries) do
  local account, kind, id = entry:match('^(.-)|(.-)|(.*)$')
  call('ZREM', key('list', account..':'..kind), id)
  call('ZREM', P..':retired', entry)
end
return #entries
