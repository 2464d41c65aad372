"""The io worker of a schedule: it fetches, delivers, fails, dies between two attempts and concludes too late."""

from tests.shared.jobs.ledger import Record
from tests.shared.jobs.stage import LANES, MAX_BYTES, Stage
from tests.shared.jobs.wire import TAG, text

LEASE = 2000
Errand = tuple[str, str, str, int]
"""Host, job, what, end of the lease."""


class IoWorker:
    """One process after another: what the last one leased is still there when the next has begun.

    Args:
        stage: The schedule's world.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._errands: list[Errand] = []

    def serve(self) -> None:
        """Leases what is due, beside what it is busy with."""
        stage, dice = self._stage, self._stage.random
        busy = [part for host in LANES if dice.random() < 0.2 for part in (host, dice.choice((1, 2)))]
        _, *rows = stage.call(
            "dispatch", dice.choice((1, 3, 20)), dice.choice((1, 2, 9)), LEASE, dice.choice((0, 1)), *busy
        )
        self._errands += [(host, id_, what, lease) for host, id_, what, lease, _ in rows]

    def conclude(self) -> None:
        """Ends one errand, in time or not, as it should be or with the fence of another."""
        dice = self._stage.random
        if not self._errands:
            return
        host, id_, what, lease = self._errands.pop(dice.randrange(len(self._errands)))
        if dice.random() < 0.1:
            return  # it died
        if dice.random() < 0.1:
            lease += dice.choice((-1, 1))
        if what == "fetch":
            self._fetched(host, id_, lease)
        else:
            outcome = dice.choice(("done", "done", "retry", "dead" if what == "completed" else "done"))
            self._end(host, id_, what, lease, outcome)

    def pause(self) -> None:
        """A host has failed too often, or is well again."""
        dice = self._stage.random
        self._stage.call("pause", dice.choice(LANES), dice.choice((0, 0, 100_000)))

    def work_off(self) -> None:
        """Does all that is due, without a failure."""
        stage = self._stage
        for host in LANES:
            stage.call("pause", host, 0)
        self._errands.clear()
        while rows := [row for fetches in (0, 1) for row in stage.call("dispatch", 20, 20, LEASE, fetches)[1:]]:
            for host, id_, what, lease, _ in rows:
                if what == "fetch":
                    self._admit(id_)
                else:
                    self._end(host, id_, what, lease, "done")

    def forget(self, r: Record) -> None:
        """The record has lived out its time, and all that lives as long."""
        oracle, wire = self._stage.oracle, self._stage.wire
        for host in LANES:
            for what in ("start", "progress", "completed"):
                entry = f"{r.id}|{what}"
                if oracle.lanes[host].pop(entry, None) is not None:
                    wire.do("ZREM", f"{TAG}:outgoing:{host}", entry)
                oracle.dead.discard((r.account, entry))
                oracle.tries.pop((r.id, what), None)
                wire.do("ZREM", f"{TAG}:dead:{r.account}", entry)
            wire.call("pause", self._stage.now, host, 0)
            oracle.pauses[host] = 0
        oracle.logs.pop(r.id, None)
        wire.do("DEL", f"{TAG}:deliveries:{r.id}", f"{TAG}:tries:{r.id}")

    def compare(self) -> None:
        """Lanes, logs, tries and dead letters are what the oracle has."""
        stage, oracle, wire = self._stage, self._stage.oracle, self._stage.wire
        for host in LANES:
            lane = dict(text(wire.do("ZRANGE", f"{TAG}:outgoing:{host}", 0, -1, "WITHSCORES")))
            if lane != oracle.lanes[host]:
                stage.fail("the lane of", host, "is", lane, "and not", oracle.lanes[host])
        for r in oracle.records.values():
            log = text(wire.do("LRANGE", f"{TAG}:deliveries:{r.id}", 0, -1))
            if log != oracle.logs.get(r.id, []):
                stage.fail("the deliveries of", r.id, "are", log, "and not", oracle.logs.get(r.id))
            tries = {what: int(count) for what, count in text(wire.do("HGETALL", f"{TAG}:tries:{r.id}")).items()}
            if tries != {what: count for (id_, what), count in oracle.tries.items() if id_ == r.id and count}:
                stage.fail("the tries of", r.id, "are", tries, "and not", oracle.tries)
        for account in "AB":
            dead = {(account, name) for name in text(wire.do("ZRANGE", f"{TAG}:dead:{account}", 0, -1))}
            if dead != {letter for letter in oracle.dead if letter[0] == account}:
                stage.fail("dead letters of", account, "are", dead, "and not", oracle.dead)

    def _fetched(self, host: str, id_: str, lease: int) -> None:
        stage, dice = self._stage, self._stage.random
        luck = dice.random()
        for _ in range(dice.choice((0, 1, 3))):
            weighed = dice.choice((id_, id_, *stage.oracle.records))
            stage.call("weigh", weighed, dice.choice((0, 5, 40)), dice.choice((60, 100_000)))
        if luck < 0.6:
            self._admit(id_)
        elif luck < 0.8:
            id_ = dice.choice((id_, id_, *stage.oracle.records))
            stage.call("refuse", id_, "E1005: the input cannot be fetched", "E1005")
        else:
            self._end(host, id_, "fetch", lease, dice.choice(("retry", "later")))

    def _admit(self, id_: str) -> None:
        stage, dice = self._stage, self._stage.random
        limits = (12, 120, 150) if stage.chance(0.5) else (1000, 100_000, 100_000)
        token = stage.name("t")
        size, cost = dice.choice((5, 20, MAX_BYTES + 5)), dice.choice((4, 16))
        state, ring, pool = stage.call("admit", id_, size, cost, *limits, token)
        if state == "admitted" and ring:
            stage.ring(pool, token)

    def _end(self, host: str, id_: str, what: str, lease: int, outcome: str) -> None:
        stage = self._stage
        due, entry = stage.now + stage.random.choice((0, 700, 5000)), stage.random.choice(("", stage.name("log")))
        if stage.call("conclude", host, id_, what, lease, outcome, due, entry) and outcome == "done":
            name = f"{id_}|{what}"
            if what == "completed" and name in stage.delivered:
                stage.fail("a webhook was delivered a second time:", name)
            stage.delivered.add(name)
