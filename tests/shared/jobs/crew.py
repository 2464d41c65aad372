"""The workers of a schedule: they drain a pool, and die, pause, hand back and come back late."""

from collections.abc import Iterable

from tests.shared.jobs.stage import HARD, LEASE, MAX_ALONE, MAX_BYTES, MAX_ROWS, Stage

Held = dict[str, int]
"""Job id -> attempt."""


class Worker:
    """One process.

    Args:
        stage: The schedule's world.
        pool: What it drains.
        careless: Breaks the rule of the side line: takes a suspect beside other jobs.
    """

    def __init__(self, stage: Stage, pool: str, careless: bool = False) -> None:
        self._stage = stage
        self.pool = pool
        self._careless = careless
        self.claims: dict[str, Held] = {}
        self.old: list[tuple[str, Held]] = []

    def drain(self) -> None:
        """Answers a message, or goes on without one: takes one batch."""
        stage, broker = self._stage, self._stage.brokers[self.pool]
        token = broker.pop(0) if not self.claims and broker and stage.random.random() < 0.7 else ""
        if len(self.claims) > 1 or (not self._careless and any(map(self._is_suspect, self.claims))):
            return
        lines = stage.call("look", self.pool, token)
        if self.claims and not self._careless and stage.random.random() < 0.8:
            lines = [line for line in lines if not line.endswith("!")]
        if lines and not stage.chance(0.05):
            self.take(lines[0] if stage.random.random() < 0.8 else stage.random.choice(lines), token)

    def take(self, line: str, token: str) -> None:
        """Takes a batch, perhaps twice because the first answer was lost."""
        stage, claim = self._stage, self._stage.name("c")
        solo = int(self._careless or not self.claims)
        scan = stage.random.choice((2, 5, 50))
        args = (line, self.pool, claim, MAX_ROWS, MAX_BYTES, LEASE, HARD, solo, token, scan)
        reply = stage.call("take", *args)
        if len(reply) > 5 and stage.chance(0.15):
            reply = stage.call("take", *args)
        held = {id_: attempt for id_, attempt, *_ in reply[5:]}
        self._check_order(held)
        if held:
            stage.oracle.claims[claim].shared = bool(self.claims)
            for other in self.claims.keys() & stage.oracle.claims.keys():
                stage.oracle.claims[other].shared = True
            self.claims[claim] = held
        if reply[0]:
            stage.ring(self.pool, claim)

    def shift(self) -> None:
        """Goes on with a claim, or answers one message as a drain does: batch after batch until nothing is ready."""
        stage, broker = self._stage, self._stage.brokers[self.pool]
        if self.claims:
            self.work()
        elif broker:
            token = message = broker.pop(0)
            while lines := stage.call("look", self.pool, message):
                self.take(lines[0], token)
                token = ""
                if not self.work():
                    return

    def work(self) -> bool:
        """Computes the oldest claim and settles it, all or in parts; False: a poison job killed the process."""
        stage = self._stage
        if not self.claims:
            return True
        for held in self.claims.values():
            for id_ in held:
                job = stage.oracle.records.get(id_)
                if job is not None and job.poison:
                    job.kills += 1
                    if job.kills > MAX_ALONE + 1:
                        stage.fail(id_, "killed", job.kills, "workers")
                    self.die()
                    return False
        claim, held = next(iter(self.claims.items()))
        some = list(held.items())
        if stage.chance(0.3):
            some = stage.random.sample(some, stage.random.randint(1, len(some)))
        if stage.chance(0.1):
            some = some + some[:1]
        self._settle(claim, some)
        for id_, _ in some:
            held.pop(id_, None)
        if not held:
            del self.claims[claim]
            self.old.append((claim, dict(some)))
        return True

    def renew(self) -> None:
        """Renews every claim."""
        for claim in self.claims:
            self._stage.call("renew", claim, LEASE)

    def progress(self) -> None:
        """Reports on one job, perhaps with a checkpoint."""
        for claim, held in self.claims.items():
            id_, attempt = self._stage.random.choice(list(held.items()))
            self._report(claim, id_, attempt + self._stage.random.choice((0, 0, 0, 0, 1)))
            return

    def emit(self) -> None:
        """Puts out a part of one job's answer."""
        for claim, held in self.claims.items():
            id_, attempt = self._stage.random.choice(list(held.items()))
            self._emit(claim, id_, attempt + self._stage.random.choice((0, 0, 0, 0, 1)))
            return

    def release(self, max_releases: int) -> None:
        """Shuts down politely: hands everything back."""
        for claim in list(self.claims):
            ring, pool, *_ = self._stage.call("release", claim, max_releases)
            if ring:
                self._stage.ring(pool, claim)
            self.old.append((claim, self.claims.pop(claim)))

    def die(self) -> None:
        """Dies, or sleeps past every lease: ``late`` may still speak for it."""
        self.old += self.claims.items()
        self.claims = {}

    def late(self) -> None:
        """Comes back with a claim it lost or ended: settles, renews, reports, with attempts right and wrong."""
        stage = self._stage
        if not self.old:
            return
        claim, held = stage.random.choice(self.old)
        records = stage.oracle.records
        said = [(id_, attempt + stage.random.choice((0, 0, 0, 1, -1))) for id_, attempt in held.items()]
        if stage.random.random() < 0.3:
            said = [(id_, records[id_].attempt if id_ in records else attempt) for id_, attempt in said]
        luck = stage.random.random()
        if luck < 0.6:
            self._settle(claim, stage.random.sample(said, stage.random.randint(1, len(said))))
        elif luck < 0.75:
            stage.call("renew", claim, LEASE)
        elif luck < 0.9:
            self._report(claim, *said[0])
        else:
            self._emit(claim, *said[0])

    def _emit(self, claim: str, id_: str, attempt: int) -> None:
        stage = self._stage
        count, items = stage.random.choice(((0, ""), (1, "[1]"), (2, '["two","three"]')))
        first = stage.oracle.records[id_].emitted if id_ in stage.oracle.records else 0
        for _ in range(2 if stage.chance(0.2) else 1):
            stage.call("emit", claim, id_, attempt, first, count, items)

    def _settle(self, claim: str, jobs: Iterable[tuple[str, int]]) -> None:
        stage, items = self._stage, list[object]()
        for id_, attempt in jobs:
            status = stage.random.choice(("succeeded", "succeeded", "failed"))
            items += [id_, attempt, status, stage.name("value"), "" if status == "succeeded" else "E1101", "{}"]
        stage.call("settle", claim, stage.random.choice((0, 1, 3, 9, 200)), 5, 20, *items)

    def _report(self, claim: str, id_: str, attempt: int) -> None:
        dice = self._stage.random
        facts = dice.choice(("", f'{{"step": {dice.randint(0, 9)}}}'))
        log = dice.choice(("", f"line {dice.randint(0, 9)}\n", "two lines\nthat are longer\n"))
        self._stage.call("progress", claim, id_, attempt, int(dice.random() < 0.4), 30, facts, log)

    def _is_suspect(self, claim: str) -> bool:
        records = self._stage.oracle.records
        return any(id_ in records and records[id_].suspect for id_ in self.claims[claim])

    def _check_order(self, held: Held) -> None:
        """First in, first out within a flow, also after releases and reclaims."""
        stage = self._stage
        records = stage.oracle.records
        for job in map(records.__getitem__, held):
            for other in stage.oracle.waiting(job.line):
                if other.flow == job.flow and other.order < job.order and other.deadline > stage.now:
                    stage.fail(job.id, "was taken before", other.id)
