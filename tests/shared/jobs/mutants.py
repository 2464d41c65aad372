"""Bugs to plant in the scripts; the schedules must find each of them.

The first part is what a queue of this form gets wrong in general, the second what ours adds to it.
"""

from tests.shared.jobs.wire import PlantedBug

GENERAL: dict[str, PlantedBug] = {
    "settle_ignores_the_status": [
        ("settle", "j.claim ~= claim then", "(j.claim ~= claim and j.claim ~= '') then"),
        ("settle", "elseif over(j) then", "elseif j.status == 'starting' then"),
    ],
    "fence_by_attempt_alone_and_release_gives_the_attempt_back": [
        ("settle", " or j.claim ~= claim", ""),
        ("release", "'claim', '',", "'claim', '', 'attempt', j.attempt - 1,"),
    ],
    "settle_ignores_the_claim": [("settle", " or j.claim ~= claim", "")],
    "settle_ignores_the_attempt": [("settle", "j.attempt ~= attempt or ", "")],
    "settle_of_a_canceled_job_is_the_same": [
        ("settle", "j.claim ~= claim then", "not over(j) and j.claim ~= claim then")
    ],
    "cancel_leaves_the_queue_entry": [
        (
            "lib",
            "  call('ZREM', key('queue', line), unpack(ids))\n",
            "  if #ids > 1 then call('ZREM', key('queue', line), unpack(ids)) end\n",
        )
    ],
    "cancel_leaves_the_claim_entry": [
        ("lib", "if j.status ~= 'starting' then free(j.claim, {j.id})\n", "if j.status ~= 'starting' then\n")
    ],
    "bytes_are_not_given_back": [("lib", "  call('HINCRBY', load, 'bytes', -bytes)\n", "")],
    "empty_line_stays_ready": [("lib", "    call('ZREM', key('ready', pool), line)\n", "")],
    "flow_is_not_forgotten": [("lib", "call('HDEL', load, 'n:'..flow, 'f:'..flow)", "call('HDEL', load, 'n:'..flow)")],
    "take_does_not_ring_again": [
        ("take", "if call('EXISTS', key('ready', pool)) == 1 then out[1] = ring(pool, claim) end", "")
    ],
    "reclaim_does_not_ring": [("reclaim", "if ring(j.pool, ARGV[4]) == 1 then table.insert(out[1], j.pool) end", "")],
    "take_ignores_rows": [("take", "rows + j.rows > max_rows or ", "")],
    "take_ignores_bytes": [("take", " or bytes + j.bytes > max_bytes", "")],
    "take_skips_over_a_big_job": [("take", "      break ", "      got[#got] = got[#got] ")],
    "take_again_takes_more": [("take", "if call('EXISTS', held_by) == 1 then", "if false then")],
    "suspects_share_a_batch": [("take", "#got > 0 and (alone or ", "#got > 0 and (")],
    "side_line_taken_beside_other_jobs": [("take", "if solo == '1' or not alone then", "if true then")],
    "take_ignores_deadlines": [("take", "tonumber(j.deadline) <= now", "false")],
    "attempt_is_not_raised": [("take", "j.attempt + 1 ", "math.max(j.attempt, 1) ")],
    "virtual_clock_stands": [("take", "math.max(v, tonumber(got[#got].score))", "v")],
    "line_keeps_its_turn": [("take", "  call('ZADD', key('ready', pool), turn(pool), line)\n", "")],
    "turn_by_the_clock": [("lib", "math.max(now, top[2] and tonumber(top[2]) + 1 or 0)", "now")],
    "reclaim_counts_every_loss": [("reclaim", "(alone and 1 or 0)", "1")],
    "reclaim_never_counts": [("reclaim", "(alone and 1 or 0)", "0")],
    "reclaim_does_not_isolate": [
        ("reclaim", "'claim', '', 'suspect', 1)", "'claim', '')"),
        ("reclaim", "j.suspect, j.line = '1', j.queue..'!'", "j.line = j.queue"),
    ],
    "reclaim_takes_live_claims": [("reclaim", "'-inf', now,", "'-inf', now + 500,")],
    "renew_past_the_hard_deadline": [
        ("renew", "if now >= hard then return {} end", ""),
        ("renew", "math.min(now + ARGV[3], hard)", "now + ARGV[3]"),
    ],
    "release_at_a_new_score": [
        (
            "release",
            "    put_back(j)\n",
            "    j.score = j.score + 1000\n    call('HSET', key('job', j.id), 'score', j.score)\n    put_back(j)\n",
        )
    ],
    "release_does_not_ring": [("release", "out[1] = ring(out[2], ARGV[2])", "out[1] = 0")],
    "idem_dies_from_the_start": [("submit", "id..'|'..hash)", "id..'|'..hash, 'PX', keep)")],
    "idem_lives_for_ever": [("lib", "  if j.idem ~= '' then call('PEXPIRE', key('idem', j.idem), j.keep) end\n", "")],
    "idem_ignores_the_body": [("submit", "if same ~= hash then", "if false then")],
    "submit_twice_by_one_id": [("submit", "if call('EXISTS', key('job', id)) == 1 then return again(id) end", "")],
    "submit_does_not_ring_again": [("submit", "call('GET', key('bell', pool)) == id and 1 or 0", "0")],
    "rows_of_the_queue_are_not_limited": [("submit", "waiting + rows > tonumber(max_rows) or ", "")],
    "bytes_of_the_queue_are_not_limited": [("submit", " or (l[2] or 0) + bytes > tonumber(max_bytes)", "")],
    "score_ignores_the_flow": [
        ("submit", "math.max(tonumber(l[3] or 0), tonumber(l[4] or 0)) + ", "1e6 - (l[1] or 0) + ")
    ],
    "score_is_the_start": [
        ("submit", " + tonumber(cost)\n", "\n"),
        ("submit", "'f:'..flow, score,", "'f:'..flow, score + cost,"),
    ],
    "one_flow_for_all_priorities": [("submit", "account..':'..priority\n", "account..':normal'\n")],
    "webhook_of_the_end_under_two_names": [
        ("lib", "send(j.hook_host, j.id..'|completed', now)", "send(j.hook_host, j.id..'|completed'..now, now)")
    ],
    "webhook_that_nobody_wants": [("lib", "if wants(j, 'c') then", "if j.hook_host then")],
    "webhook_is_forgotten": [("lib", "    send(j.hook_host, j.id..'|completed', now)\n", "")],
    "expire_leaves_it_open": [
        ("lib", "  call('ZREM', OPEN, j.id)\n", "  if not r.code:find('E140[12]') then call('ZREM', OPEN, j.id) end\n")
    ],
    "record_without_a_life": [("lib", "  call('PEXPIRE', job, j.keep)\n", "")],
    "bell_without_token": [
        ("take", "if token ~= '' and call('GET', bell) == token then", "if token ~= '' then"),
        ("look", "call('GET', key('bell', ARGV[2])) == ARGV[3]", "true"),
    ],
    "sweep_never_rings_past_a_bell": [
        ("sweep", "if broker_empty ~= '1' then return 0 end", "if true then return 0 end")
    ],
    "sweep_nudges_without_a_period": [
        ("sweep", "if now >= last and now - last < tonumber(period) then return 0 end", "")
    ],
    "sweep_trusts_the_clock": [("sweep", "now >= last and now - last <", "now - last <")],
}

OURS: dict[str, PlantedBug] = {
    "rows_of_an_account_are_not_limited": [("submit", "(a[1] or 0) + rows > tonumber(account_rows) or ", "")],
    "bytes_of_an_account_are_not_limited": [("submit", " or (a[2] or 0) + bytes > tonumber(account_bytes)", "")],
    "account_gets_no_rows_back": [
        ("lib", "call('HINCRBY', account, 'rows', -j.rows)", "call('HINCRBY', account, 'rows', 0)")
    ],
    "account_gets_no_bytes_back": [("lib", "  call('HINCRBY', account, 'bytes', -j.bytes)\n", "")],
    "account_pays_again_after_a_release": [
        (
            "release",
            "    put_back(j)\n",
            "    put_back(j)\n    call('HINCRBY', key('account', j.account), 'rows', j.rows)\n",
        )
    ],
    "release_never_makes_a_suspect": [("release", "if most > 0 and releases >= most then", "if false then")],
    "release_always_makes_a_suspect": [("release", "if most > 0 and releases >= most then", "if true then")],
    "releases_are_not_counted": [("release", "'releases', releases,", "'releases', j.releases,")],
    "each_release_counts": [("release", "(most > 0 and 1 or 0)", "1")],
    "a_release_that_does_not_count_makes_a_suspect": [("release", "if most > 0 and releases", "if releases")],
    "checkpoint_does_not_reset": [
        ("progress", "if reset == '1' then call('HSET', key('job', id), 'alone', 0) end", "")
    ],
    "every_report_resets": [("progress", "if reset == '1' then", "if true then")],
    "progress_ignores_the_claim": [("progress", " or j.claim ~= claim", "")],
    "progress_ignores_the_attempt": [("progress", " or j.attempt ~= attempt", "")],
    "logs_grow_for_ever": [("progress", "if #text > tonumber(log_bytes) then", "if false then")],
    "callers_deadline_fails": [("lib", "if j.deadline_by == 'caller' then", "if false then")],
    "waiters_are_not_woken": [("lib", "  wake(j.id)\n", "")],
    "waiters_stay": [("lib", "  call('DEL', waiters)\n", "")],
    "second_submit_does_not_wait": [
        ("submit", "if waiter ~= '' and call('ZSCORE', OPEN, known) then watch(known) end", "")
    ],
    "data_without_a_life": [("lib", "  call('PEXPIRE', data, j.retain)\n", "")],
    "data_lives_as_long_as_the_record": [("lib", "call('PEXPIRE', data, j.retain)", "call('PEXPIRE', data, j.keep)")],
    "events_without_a_life": [("lib", "    call('PEXPIRE', key('events', j.id), j.retain)\n", "")],
    "delete_leaves_the_listing": [("delete", "call('ZREM', key('list', j.account..':'..j.kind), j.id)\n", "")],
    "delete_leaves_the_data": [("delete", ", key('data', j.id)", "")],
    "delete_leaves_the_retired": [("delete", "call('ZREM', P..':retired', j.account..'|'..j.kind..'|'..j.id)\n", "")],
    "delete_leaves_the_webhook": [("delete", "    unsend(j.hook_host, j.id..'|'..what)\n", "")],
    "delete_leaves_the_deliveries": [("delete", "  call('DEL', key('deliveries', j.id), key('tries', j.id))\n", "")],
    "delete_leaves_the_dead_letter": [("delete", "    call('ZREM', key('dead', j.account), j.id..'|'..what)\n", "")],
    "start_is_told_at_every_attempt": [("take", "if attempt == 1 and wants", "if wants")],
    "progress_after_the_end": [("lib", "    unsend(j.hook_host, j.id..'|progress') ", "")],
    "no_webhook_of_the_last_output": [
        ("lib", "elseif r.status == 'succeeded' and wants(j, 'o') then", "elseif nil then")
    ],
    "progress_without_a_pause": [("lib", "math.max(now, last + 500)", "now")],
    "stop_of_a_held_job_leaves_a_line": [("lib", "  elseif is_held(j) then unsend(j.held, j.id..'|fetch')\n", "")],
    "stop_of_a_held_job_leaves_the_fetch": [
        ("lib", "is_held(j) then unsend(j.held, j.id..'|fetch')", "is_held(j) then")
    ],
    "admit_twice": [("admit", "'held', '', ", ""), ("admit", "unsend(j.held, id..'|fetch')\n", "")],
    "admit_of_the_ended": [("admit", "over(j) or ", "")],
    "admit_ignores_the_limits": [("admit", "  return {'full', 0, ''}\n", "")],
    "admit_forgets_the_bytes_of_the_account": [
        ("admit", "call('HSET', key('account', j.account), 'bytes', all)\n", "")
    ],
    "admit_does_not_ring": [("admit", "ring(j.pool, token), j.pool}", "0, j.pool}")],
    "weigh_forgets_the_account": [("weigh", "call('HSET', account, 'bytes', all)\n", "")],
    "weigh_ignores_the_limit": [
        ("weigh", "if more > 0 and all > tonumber(ARGV[4]) then return {'full', own} end\n", "")
    ],
    "weigh_counts_what_was_counted": [
        ("weigh", "call('HSETNX', job, 'own', j.bytes)\n", "call('HSET', job, 'own', j.bytes)\n")
    ],
    "weigh_of_the_admitted": [("weigh", " or not is_held(j)", "")],
    "refuse_of_a_job_that_waits": [("refuse", " or not is_held(j)", "")],
    "lease_of_an_errand_is_no_fence": [
        ("conclude", "if tonumber(call('ZSCORE', lane, name) or 0) ~= tonumber(lease) then return 0 end", "")
    ],
    "errand_is_not_leased": [("dispatch", "      call('ZADD', lane, lease, entry)\n", "")],
    "errands_beyond_the_cap": [("dispatch", "per_host - (busy[host] or 0)", "per_host")],
    "downloads_share_the_room_of_webhooks": [("dispatch", " and is_fetch_lane(host) == fetches", "")],
    "host_is_never_looked_at_again": [("dispatch", "    reschedule(host)\n", "")],
    "tries_are_not_counted": [("conclude", "  call('HINCRBY', key('tries', id), what, 1)\n", "")],
    "what_is_no_try_is_counted": [("conclude", " and outcome ~= 'later'", "")],
    "tries_of_a_fetch_stay": [
        ("lib", "    call('HDEL', key('tries', j.id), 'fetch')\n", ""),
        ("admit", "call('HDEL', key('tries', id), 'fetch')\n", ""),
    ],
    "redelivery_keeps_the_tries": [("redeliver", "call('HDEL', key('tries', id), what)\n", "")],
    "redelivery_before_the_end": [("redeliver", " or what == 'completed' and not over(j)", "")],
    "pause_is_ignored": [
        ("lib", "math.max(tonumber(first[2]), tonumber(call('GET', key('pause', host)) or 0))", "first[2]")
    ],
    "send_ends_a_pause": [("lib", "math.max(due, tonumber(call('GET', key('pause', host)) or 0))", "due")],
    "output_of_a_lost_attempt_stays": [("lib", "  call('HDEL', key('data', j.id), 'output', 'emitted')\n", "")],
    "emit_ignores_the_claim": [("emit", " or j.claim ~= claim", "")],
    "emit_keeps_a_part_twice": [("emit", "tonumber(first) ~= kept or ", "")],
    "late_follower_misses_the_output": [("lib", "  if d[2] then note_output(j, 0, d[1]) end\n", "")],
    "start_of_a_followed_job_is_not_noted": [("submit", "note({id = id}, 'status', 'starting')", "local _ = 0")],
    "status_is_not_noted": [("take", "  if j.followed then note(j, 'status', 'processing') end\n", "")],
    "end_is_not_noted": [("lib", "    note(j, 'status', r.status)\n", "")],
    "delete_of_an_open_job": [("delete", "if not j or not over(j) then", "if not j then")],
    "delete_keeps_the_large_input": [
        ("delete", "if j.spill ~= '' then call('ZADD', P..':spilled', 0, j.spill) end\n", "")
    ],
    "large_input_is_never_deleted": [
        ("lib", "  if j.spill ~= '' then call('ZADD', P..':spilled', now + j.retain, j.spill) end\n", "")
    ],
    "checkpoints_are_never_deleted": [("lib", "call('ZADD', P..':spilled', now + 60000, j.scratch)", "")],
    "large_input_goes_at_the_end": [("lib", "P..':spilled', now + j.retain,", "P..':spilled', now,")],
    "listing_is_not_retired": [
        ("lib", "  call('ZADD', P..':retired', now + j.keep, j.account..'|'..j.kind..'|'..j.id)\n", "")
    ],
    "forget_leaves_the_listing": [("forget", "  call('ZREM', key('list', account..':'..kind), id)\n", "")],
    "drop_leaves_the_line": [("drop", "if #jobs > 0 then leave(ARGV[2], jobs[1].pool, jobs) end\n", "")],
    "totals_count_twice": [
        (
            "lib",
            "count(j.kind, r.status, 1)",
            "count(j.kind, r.status, 2)",
        )
    ],
    "open_jobs_are_counted_at_their_first_status": [("take", "  count(kind, 'starting', -n)\n", "")],
    "job_put_back_is_counted_as_running": [("lib", "  count(j.kind, 'starting', 1)\n", "")],
    "ended_jobs_are_counted_as_open": [("lib", "  count(j.kind, j.status, -1)\n", "")],
    "age_of_a_job_that_waits_again_is_lost": [("lib", "  call('ZADD', key('born', j.line), j.created, j.id)\n", "")],
    "age_outlives_the_waiting": [("lib", "  call('ZREM', key('born', line), unpack(ids))\n", "")],
    "age_begins_with_the_last_wait": [("lib", "j.created, j.id)", "now, j.id)")],
    "pool_unknown_to_sweeps": [("lib", "  call('SADD', P..':pools', pool)\n", "")],
    "take_hands_out_another_input": [
        (
            "take",
            "return {id, tonumber(attempt), tonumber(r[1]), tonumber(r[2]), d or '', r[3]}",
            "return {id, tonumber(attempt), tonumber(r[1]), tonumber(r[2]), '', r[3]}",
        )
    ],
}

ALL = GENERAL | OURS

QUICK = (
    "settle_ignores_the_status",
    "cancel_leaves_the_claim_entry",
    "take_does_not_ring_again",
    "reclaim_counts_every_loss",
    "rows_of_the_queue_are_not_limited",
    "bytes_of_an_account_are_not_limited",
    "account_gets_no_rows_back",
    "waiters_are_not_woken",
    "callers_deadline_fails",
    "data_without_a_life",
    "delete_leaves_the_listing",
)
"""Those that a few schedules find."""
