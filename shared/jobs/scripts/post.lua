#!lua
-- post: now host entry delay -> 1: enters work for a host, due after so many milliseconds
--@lib
send(ARGV[2], ARGV[3], now + ARGV[4])
return 1
