"""Foretells the answer of every script, by the rules of docs/queue.md.

Each method takes what the script of its name takes, the clock first, and returns what the script must answer.
"""

import math
from typing import Any

from tests.shared.jobs.errands import Errands
from tests.shared.jobs.ledger import CANCELED, Claim, Record

Answer = list[Any]


class Oracle(Errands):
    """The queue as it ought to be."""

    def submit(
        self, now: int, id_: str, queue: str, pool: str, account: str, priority: str, rows: int, size: int, cost: int,
        life: int, keep: int, retain: int, idem: str, digest: str, max_rows: int, max_bytes: int, account_rows: int,
        account_bytes: int, waiter: str, input_: str, *fields: str,
    ) -> Answer:  # fmt: skip
        self.now = now
        if idem in self.idem:
            known, same = self.idem[idem]
            return self._again(known, id_, pool, waiter) if same == digest else ["conflict", known, 0]
        if id_ in self.records:
            return self._again(id_, id_, pool, waiter)
        waiting_rows, waiting_bytes = self.sums(self.waiting(queue))
        if waiting_rows + rows > max_rows or waiting_bytes + size > max_bytes:
            return ["full", "queue", waiting_rows]
        open_rows, open_bytes = self.sums(r for r in self.opened() if r.account == account)
        if open_rows + rows > account_rows or open_bytes + size > account_bytes:
            return ["full", "account", open_rows]
        named = dict(zip(fields[::2], fields[1::2], strict=True))
        flow = f"{account}:{priority}"
        score = max(self.clocks.get(queue, 0), self.finishes.get((queue, flow), 0)) + cost
        record = Record(
            id_, named["kind"], queue, pool, account, flow, rows, size, score, now, now + life,
            named["deadline_by"] == "caller", idem, named["hook"], named["hook_host"], named["held"], named["spill"],
            named["scratch"], input_, keep, retain, self.made,
        )  # fmt: skip
        self.made += 1
        self.records[id_] = record
        self.totals[f"{record.kind}:starting"] += 1
        if "followed" in named:
            record.followed = True
            record.note("status", "starting")
        if record.held:
            record.status = "starting"
            self.send(record.held, f"{id_}|fetch", now)
        else:
            self.enter(record)
        if waiter:
            record.waiters.add(waiter)
        if idem:
            self.idem[idem] = (id_, digest)
        if named["model"]:
            self.runs[named["model"]] += 1
        return ["new", id_, 0 if record.held else self.ring(pool, id_), now]

    def _again(self, known: str, id_: str, pool: str, waiter: str) -> Answer:
        record = self.records.get(known)
        if waiter and record and record.is_open:
            record.waiters.add(waiter)
        return ["dup", known, int(known == id_ and self.bells.get(pool) == id_)]

    def take(
        self, now: int, line: str, pool: str, claim: str, max_rows: int, max_bytes: int, lease: int, hard: int,
        solo: int, token: str, scan: int,
    ) -> Answer:  # fmt: skip
        self.now = now
        if claim in self.claims:
            held = self.claims[claim]
            ring = int(self.bells.get(pool) == claim)
            return [ring, int(bool(self.waiting(line))), held.hard, now, [], *map(self._handed, held.jobs)]
        if token and self.bells.get(pool) == token:
            del self.bells[pool]
        side = line.endswith("!")
        got: list[Record] = []
        gone: list[Record] = []
        for r in self.waiting(line)[: scan if solo or not side else 0]:
            rows, size = self.sums(got)
            if r.deadline <= now:
                gone.append(r)
            elif got and (side or rows + r.rows > max_rows or size + r.bytes > max_bytes):
                break
            else:
                got.append(r)
        for r in gone:
            self.finish(r, self.late(r))
        for r in got:
            self.move(r, "processing")
            r.status, r.claim, r.attempt, r.started = "processing", claim, r.attempt + 1, now
            r.note("status", "processing")
            if r.attempt == 1 and "s" in r.hook:
                self.send(r.hook_host, f"{r.id}|start", now)
        self.left(line, pool)
        if got:
            self.claims[claim] = Claim({r.id: r.attempt for r in got}, now + hard, now + min(lease, hard), side)
            if not side:
                self.clocks[line] = max(self.clocks.get(line, 0), got[-1].score)
        left = bool(self.waiting(line))
        if left:
            self.turns[pool][line] = self.turn(pool)
        ring = self.ring(pool, claim) if self.turns[pool] else 0
        return [ring, int(left), now + hard, now, [r.id for r in gone], *(self._handed(r.id) for r in got)]

    def _handed(self, id_: str) -> Answer:
        r = self.records[id_]
        return [id_, r.attempt, r.rows, r.deadline, r.input, r.spill]

    def settle(self, now: int, claim: str, batch_rows: int, decode_ms: int, compute_ms: int, *items: Any) -> Answer:
        self.now = now
        answers, mine = [], []
        for id_, attempt, status, value, code, _ in zip(*(items[i::6] for i in range(6)), strict=True):
            r = self.records.get(id_)
            if r is None or r.claim != claim or r.attempt != attempt:
                answers.append("lost")
            elif not r.is_open:
                answers.append("same")
            else:
                succeeded = status == "succeeded"
                self.finish(r, (status, None if succeeded else value, None if succeeded else code), claim)
                r.output = value if succeeded else r.output
                self.totals[f"queue_ms:{r.kind}"] += max(0, r.started - r.created)
                self.totals[f"run_ms:{r.kind}"] += max(0, now - r.started)
                mine.append(r)
                answers.append("ok")
        if mine:
            self.free(claim, [r.id for r in mine])
            if batch_rows:
                size = next((str(2**i) for i in range(8) if batch_rows <= 2**i), "inf")
                self.totals.update(batches=1, batch_rows=batch_rows, decode_ms=decode_ms, compute_ms=compute_ms)
                self.totals["batch_rows_le:" + size] += 1
                self.learn([(name, r) for r in mine for name in (r.queue, f"{r.account}|")])
        return answers

    def learn(self, drained: list[tuple[str, Record]]) -> None:
        for name in {name for name, _ in drained}:
            jobs = [r for other, r in drained if other == name]
            rows, waited, at = self.paces.get(name, (0.0, 0.0, 0))
            ms = self.now - max(at, min(r.created for r in jobs))
            ms = max(0, min(ms, self.now - min(r.started for r in jobs) + (2000 if name in self.paces else 0)))
            old = math.exp(-ms / 10_000)
            self.paces[name] = (rows * old + sum(r.rows for r in jobs), waited * old + ms, self.now)

    def renew(self, now: int, claim: str, lease: int) -> Answer:
        self.now = now
        held = self.claims.get(claim)
        if held is None or now >= held.hard:
            return []
        held.lease = min(now + lease, held.hard)
        return list(held.jobs)

    def progress(
        self, now: int, claim: str, id_: str, attempt: int, reset: int, log_bytes: int, facts: str, log: str
    ) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or r.status != "processing" or r.claim != claim or r.attempt != attempt:
            return 0
        if reset:
            r.alone = r.lone_losses = r.kills = 0
        if facts or log:
            self.begin_stream(r)
        if facts:
            r.progress = facts
            r.note("progress", facts)
        if log:
            logs = (r.logs or "") + log
            tail = logs[-log_bytes:]
            r.logs = logs if len(logs) <= log_bytes else tail[tail.find("\n") + 1 :]
            r.note("log", log)
            if "l" in r.hook:
                self.report(r)
        return 1

    def emit(self, now: int, claim: str, id_: str, attempt: int, first: int, count: int, items: str) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or r.status != "processing" or r.claim != claim or r.attempt != attempt:
            return -1
        if not r.followed and "o" not in r.hook:
            return -2
        if first != r.emitted or not count:
            return r.emitted
        r.output = f"{r.output[:-1]},{items[1:]}" if r.output else items
        r.emitted += count
        r.note("output", f'{{"first":{first},"items":{items}}}')
        if "o" in r.hook:
            self.report(r)
        return r.emitted

    def release(self, now: int, claim: str, max_releases: int) -> Answer:
        self.now = now
        held = self.claims.pop(claim, None)
        if held is None:
            return [0, ""]
        for r in map(self.records.__getitem__, held.jobs):
            if max_releases:
                r.releases += 1
                r.suspect = r.suspect or r.releases >= max_releases
            self.put_back(r)
        pool = self.records[next(iter(held.jobs))].pool
        return [self.ring(pool, claim), pool, *held.jobs]

    def reclaim(self, now: int, limit: int, max_alone: int, token: str) -> Answer:
        self.now = now
        answer: tuple[list[str], list[str], list[str], list[str]] = ([], [], [], [])
        rings, up, back, lapsed = answer
        for claim, held in sorted(self.claims.items(), key=lambda item: (item[1].lease, item[0])):
            if held.lease > now or len(up) + len(back) >= limit or len(lapsed) >= limit:
                break
            del self.claims[claim]
            lapsed.append(claim)
            for r in map(self.records.__getitem__, held.jobs):
                r.alone += held.alone
                r.lone_losses += len(held.jobs) == 1 and not held.shared
                if r.alone >= max_alone:
                    self.finish(r, ("failed", f"E1301: {r.alone} workers died while they ran this job alone", "E1301"))
                    up.append(r.id)
                else:
                    r.suspect = True
                    self.put_back(r)
                    back.append(r.id)
                    if self.ring(r.pool, token):
                        rings.append(r.pool)
        return list(answer)

    def cancel(self, now: int, id_: str) -> str:
        self.now = now
        r = self.records.get(id_)
        before = r.status if r else ""
        if r and r.is_open:
            self.stop(r, CANCELED)
        return before

    def expire(self, now: int, limit: int) -> Answer:
        self.now = now
        due = [r for r in self.opened() if r.deadline <= now][:limit]
        for r in due:
            self.stop(r, self.late(r))
        return [r.id for r in due]

    def drop(self, now: int, line: str, limit: int, error: str, code: str) -> int:
        self.now = now
        jobs = self.waiting(line)[:limit]
        for r in jobs:
            self.finish(r, ("failed", error, code))
        if jobs:
            self.left(line, jobs[0].pool)
        return len(jobs)

    def delete(self, now: int, id_: str) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or r.is_open:
            return 0
        del self.records[id_], self.retired[r.listing]
        for what in ("start", "progress", "completed"):
            self.lanes[r.hook_host].pop(f"{id_}|{what}", None)
            self.dead.discard((r.account, f"{id_}|{what}"))
            self.tries.pop((id_, what), None)
        self.logs.pop(id_, None)
        if r.spill:
            self.spilled[r.spill] = 0
        return 1

    def forget(self, now: int, limit: int) -> int:
        self.now = now
        due = sorted((moment, entry) for entry, moment in self.retired.items() if moment <= now)[:limit]
        for _, entry in due:
            del self.retired[entry]
        return len(due)

    def look(self, now: int, pool: str, token: str) -> Answer:
        self.now = now
        lines = sorted(self.turns[pool], key=lambda line: (self.turns[pool][line], line))[:16]
        if not lines and self.bells.get(pool) == token:
            del self.bells[pool]
        return lines

    def sweep(self, now: int, pool: str, is_silent: int, period: int, token: str) -> int:
        self.now = now
        last = self.nudges.get(pool, 0)
        if not self.turns[pool] or (pool in self.bells and (not is_silent or last <= now < last + period)):
            return 0
        self.nudges[pool], self.bells[pool] = now, token
        return 1
