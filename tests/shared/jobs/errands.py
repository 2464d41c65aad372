"""Foretells the answers of the scripts for held jobs and for the world outside; ``oracle.py`` has the others."""

from typing import Any

from tests.shared.jobs.ledger import Ledger

Answer = list[Any]


class Errands(Ledger):
    """The lanes as they ought to be."""

    def admit(
        self, now: int, id_: str, size: int, cost: int, max_rows: int, max_bytes: int, account_bytes: int, token: str
    ) -> Answer:
        self.now = now
        r = self.records.get(id_)
        if r is None or not r.is_open or not r.held:
            return ["gone", 0, ""]
        rows, waiting = self.sums(self.waiting(r.queue))
        _, opened = self.sums(other for other in self.opened() if other.account == r.account)
        if rows + r.rows > max_rows or waiting + size > max_bytes or opened + size - r.bytes > account_bytes:
            return ["full", 0, ""]
        self.lanes[r.held].pop(f"{id_}|fetch", None)
        self.tries.pop((id_, "fetch"), None)
        score = max(self.clocks.get(r.queue, 0), self.finishes.get((r.queue, r.flow), 0)) + cost
        r.held, r.bytes, r.score, r.order = "", size, score, self.made
        self.made += 1
        r.status = ""
        self.enter(r)
        return ["admitted", self.ring(r.pool, token), r.pool]

    def weigh(self, now: int, id_: str, fetched: int, account_bytes: int) -> Answer:
        self.now = now
        r = self.records.get(id_)
        if r is None or not r.is_open or not r.held:
            return ["gone", 0]
        own = self.own.setdefault(id_, r.bytes)
        _, opened = self.sums(other for other in self.opened() if other.account == r.account)
        more = own + fetched - r.bytes
        if more > 0 and opened + more > account_bytes:
            return ["full", own]
        r.bytes = own + fetched
        return ["held", own]

    def refuse(self, now: int, id_: str, error: str, code: str) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or not r.is_open or not r.held:
            return 0
        self.stop(r, ("failed", error, code))
        return 1

    def follow(self, now: int, id_: str) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or not r.is_open:
            return 0
        self.begin_stream(r)
        return 1

    def dispatch(self, now: int, count: int, per_host: int, lease: int, fetches: int, *busy: Any) -> Answer:
        self.now = now
        engaged = dict(zip(busy[::2], busy[1::2], strict=True))
        out: Answer = [-1]
        looks = sorted((self._look(host), host) for host, lane in self.lanes.items() if lane)
        for look, host in looks:
            room = min(count - len(out) + 1, per_host - engaged.get(host, 0))
            if look > now or room <= 0 or host.startswith("fetch@") != bool(fetches):
                continue
            lane = self.lanes[host]
            due = sorted((at, entry) for entry, at in lane.items() if at <= now)
            for _, entry in due[:room]:
                id_, _, what = entry.partition("|")
                if what == "progress":
                    del lane[entry]
                    if id_ in self.records:
                        self.records[id_].reported = now
                else:
                    lane[entry] = now + lease
                out.append([host, id_, what, now + lease, self.tries[id_, what]])
        later = [look for look in map(self._look, [host for host, lane in self.lanes.items() if lane]) if look > now]
        out[0] = min(later, default=-1)
        return out

    def conclude(self, now: int, host: str, id_: str, what: str, lease: int, outcome: str, due: int, entry: str) -> int:
        self.now = now
        name, lane = f"{id_}|{what}", self.lanes[host]
        if what != "progress":
            if lane.get(name) != lease:
                return 0
            if outcome in ("retry", "later"):
                lane[name] = due
            else:
                del lane[name]
        self.totals[f"outgoing:{what}:{outcome}"] += 1
        r = self.records.get(id_)
        if r is None and what != "test":
            return 1
        if entry:
            self.logs[id_] = [*self.logs[id_], entry][-100:]
        if outcome not in ("done", "later"):
            self.tries[id_, what] += 1
        if outcome == "dead" and r is not None:
            self.dead.add((r.account, name))
        return 1

    def redeliver(self, now: int, id_: str, what: str) -> int:
        self.now = now
        r = self.records.get(id_)
        if r is None or what[0] not in r.hook:
            return 0
        if not r.started if what == "start" else r.is_open:
            return 0
        self.tries.pop((id_, what), None)
        self.dead.discard((r.account, f"{id_}|{what}"))
        self.lanes[r.hook_host][f"{id_}|{what}"] = now
        return 1

    def pause(self, now: int, host: str, span: int) -> int:
        self.now = now
        self.pauses[host] = now + span if span > 0 else 0
        return 1

    def _look(self, host: str) -> int:
        return max(min(self.lanes[host].values()), self.pauses.get(host, 0))
