"""Seeded schedules of faults over the scripts, with an oracle beside them.

A schedule is a hundred and ten moves of clients, workers, sweepers, the clock and the server, drawn by its seed; then
the faults stop and everything must end by itself. ``python -m tests.shared.jobs.schedules SEED`` plays one alone.
"""

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import RedisServer
from tests.shared.jobs.clients import Clients
from tests.shared.jobs.crew import Worker
from tests.shared.jobs.errand_crew import IoWorker
from tests.shared.jobs.ledger import Record
from tests.shared.jobs.stage import CHANNELS, KEEP, MAX_ALONE, PERIOD, POOLS, RETAIN, Stage
from tests.shared.jobs.wire import TAG, PlantedBug, Wire, text

MOVES = {
    "submit": 22, "drain": 24, "work": 9, "late": 6, "renew": 2, "progress": 5, "die": 1.5, "release": 2, "cancel": 4,
    "delete": 2, "drop": 0.4, "expire": 2, "reclaim": 6, "sweep": 4, "serve": 4, "conclude": 4,
    "follow": 1, "emit": 2, "redeliver": 0.7, "pause": 0.4, "age": 0.7, "clock": 9, "compare": 1,
    "snapshot": 0.5, "rollback": 0.5,
}  # fmt: skip
DEADLY = {**MOVES, "submit": 12, "die": 10, "progress": 14, "reclaim": 14, "clock": 14, "cancel": 2}
"""The moves of every third schedule, in which workers die so often that most jobs end up in a side line."""
OF_CLIENTS = ("submit", "cancel", "delete", "follow", "redeliver")
OF_BUSY_WORKERS = ("work", "renew", "progress", "emit", "die")
OF_IO = ("serve", "conclude", "pause")


class Schedule:
    """One seed's story.

    Args:
        wire: The server.
        seed: Decides everything.
        careless: Whether workers break the rule of the side line.
    """

    def __init__(self, wire: Wire, seed: int, careless: bool = False) -> None:
        self.stage = stage = Stage(wire, seed)
        self._clients = Clients(stage)
        self._io = IoWorker(stage)
        pools = ["predict.cpu"] * stage.random.randint(2, 4) + ["train.cpu"]
        self._workers = [Worker(stage, pool, careless) for pool in pools]
        self._max_releases = stage.random.choice((0, 2, 3, 5))
        self._kept: tuple[Any, ...] | None = None

    def play(self, moves: int = 110) -> None:
        """Plays the faults, then the quiet end."""
        dice = self.stage.random
        shares = MOVES if self.stage.seed % 3 else DEADLY
        for move in dice.choices(list(shares), list(shares.values()), k=moves):
            busy = [worker for worker in self._workers if worker.claims] or self._workers
            if move == "release":
                dice.choice(busy).release(self._max_releases)
            elif move in OF_BUSY_WORKERS:
                getattr(dice.choice(busy), move)()
            elif move in ("drain", "late"):
                getattr(dice.choice(self._workers), move)()
            elif move in OF_IO:
                getattr(self._io, move)()
            else:
                getattr(self._clients if move in OF_CLIENTS else self, move)()
        self._quiesce()

    def drop(self) -> None:
        """A version goes away: its waiting jobs fail."""
        dice = self.stage.random
        line = dice.choice(list(POOLS)) + dice.choice(("", "!"))
        self.stage.call("drop", line, dice.choice((1, 100)), "E1202: gone", "E1202")

    def expire(self) -> None:
        """A sweep ends what is too old."""
        self.stage.call("expire", self.stage.random.choice((1, 100)))

    def reclaim(self) -> None:
        """A sweep moves the jobs of lapsed claims on."""
        stage, token = self.stage, self.stage.name("t")
        rings, given_up, _, _ = stage.call("reclaim", stage.random.choice((1, 3, 100)), MAX_ALONE, token)
        for id_ in given_up:
            if stage.oracle.records[id_].lone_losses < MAX_ALONE:
                stage.fail("an innocent was given up:", id_)
        for pool in rings:
            stage.ring(pool, token)

    def sweep(self) -> None:
        """A sweep looks for lost messages."""
        for pool, broker in self.stage.brokers.items():
            token = self.stage.name("t")
            if self.stage.call("sweep", pool, int(not broker), PERIOD, token):
                self.stage.ring(pool, token)

    def clock(self) -> None:
        """Time passes, or the clock steps back."""
        self.stage.now += self.stage.random.choice((1, 50, 200, 1001, 1001, 4100, -300, -3000))

    def age(self) -> None:
        """What ended a while ago lives out its time: data and large inputs first, then records and listings."""
        stage, oracle = self.stage, self.stage.oracle
        until = stage.now - stage.random.choice((0, 1000))
        old = [r for r in oracle.records.values() if not r.is_open and r.ended <= until]
        for r in old:
            r.has_data = False
            stage.wire.do("DEL", f"{TAG}:data:{r.id}", f"{TAG}:events:{r.id}")
        self._clean(until + RETAIN)
        if stage.random.random() < 0.5:
            return
        for r in old:
            self._io.forget(r)
            stage.wire.do("DEL", f"{TAG}:job:{r.id}", f"{TAG}:idem:{r.idem}")
            oracle.idem.pop(r.idem, None)
            del oracle.records[r.id]
        while stage.call("forget", stage.random.choice((1, 100)), at=until + KEEP):
            continue

    def snapshot(self) -> None:
        """A replica keeps up to here."""
        stage = self.stage
        names = stage.wire.do("KEYS", "*")
        lives = stage.wire.send(*(("PTTL", name) for name in names))
        dumps = stage.wire.send(*(("DUMP", name) for name in names))
        keys = list(zip(names, lives, dumps, strict=True))
        self._kept = (keys, *copy.deepcopy((stage.oracle, stage.ended, stage.delivered)))

    def rollback(self) -> None:
        """The replica takes over: all since the snapshot never was, and the workers do not know."""
        if self._kept is None:
            return
        stage = self.stage
        keys, stage.oracle, stage.ended, stage.delivered = self._kept
        self._kept = None
        stage.wire.do("FLUSHALL")
        for reply in stage.wire.send(*(("RESTORE", name, max(0, life), dump) for name, life, dump in keys)):
            if isinstance(reply, Exception):
                raise reply
        for worker in self._workers:
            for claim in [claim for claim in worker.claims if claim not in stage.oracle.claims]:
                worker.old.append((claim, worker.claims.pop(claim)))
        stage.call("renew", "nobody", 1)

    def compare(self) -> None:
        """Every record, its data and the sums are what the oracle has."""
        stage, oracle, wire = self.stage, self.stage.oracle, self.stage.wire
        known = {name.removeprefix(f"{TAG}:job:") for name in text(wire.do("KEYS", f"{TAG}:job:*"))}
        if known != oracle.records.keys():
            stage.fail("records that are there or not:", known ^ oracle.records.keys())
        for r in oracle.records.values():
            record, data, events = text(
                wire.send(
                    ("HGETALL", f"{TAG}:job:{r.id}"),
                    ("HGETALL", f"{TAG}:data:{r.id}"),
                    ("XRANGE", f"{TAG}:events:{r.id}", "-", "+"),
                )
            )
            for name, value in _record(r).items():
                if record.get(name) != value:
                    stage.fail(r.id, name, "is", record.get(name), "and not", value)
            if data != _data(r):
                stage.fail(r.id, "has the data", data, "and not", _data(r))
            if [(entry[1][1], entry[1][3]) for entry in events] != (r.events if r.has_data else []):
                stage.fail(r.id, "has the events", events, "and not", r.events)
        totals = {name: float(value) for name, value in text(wire.do("HGETALL", f"{TAG}:totals")).items()}
        if totals != {name: value for name, value in oracle.totals.items() if name in totals or value}:
            stage.fail("totals", totals, "and not", oracle.totals)
        runs = {name: int(count) for name, count in text(wire.do("HGETALL", f"{TAG}:runs")).items()}
        if runs != oracle.runs:
            stage.fail("runs", runs, "and not", oracle.runs)
        for name, expected in oracle.paces.items():
            pace = [float(figure) for figure in wire.do("HMGET", f"{TAG}:pace:{name}", "rows", "ms", "at")]
            if any(abs(figure - right) > 1e-6 for figure, right in zip(pace, expected, strict=True)):
                stage.fail("pace of", name, pace, "and not", expected)
        self._io.compare()
        spilled = dict(text(wire.do("ZRANGE", f"{TAG}:spilled", 0, -1, "WITHSCORES")))
        if spilled != oracle.spilled:
            stage.fail("files to delete:", spilled, "and not", oracle.spilled)

    def _clean(self, at: int) -> None:
        """A sweep deletes the large inputs and the checkpoints that are due."""
        stage, spilled = self.stage, self.stage.oracle.spilled
        due = set(text(stage.wire.do("ZRANGEBYSCORE", f"{TAG}:spilled", "-inf", at)))
        if due != {path for path, moment in spilled.items() if moment <= at}:
            stage.fail("files to delete by", at, ":", due, "and not", spilled)
        for path in due:
            job = stage.oracle.records.get(path.rpartition("/")[2])
            if job is not None and job.is_open:
                stage.fail("deleted before its job ended:", path)
            stage.wire.do("ZREM", f"{TAG}:spilled", path)
            del spilled[path]

    def _quiesce(self) -> None:
        """The faults stop, every worker is replaced: no wake-up is lost, everything ends, nothing is left."""
        stage, oracle = self.stage, self.stage.oracle
        stage.is_faulty = False
        for worker in self._workers:
            worker.die()
        # Past the last nudge too: where the clock stepped back again and again, a lost message is found a period later.
        stage.now = max([stage.now, *oracle.nudges.values()]) + 10_000
        for _ in range(200):
            stage.now += PERIOD
            for _ in range(stage.random.randint(1, 3)):
                self.reclaim()
            self.sweep()
            self.sweep()
            for pool, broker in stage.brokers.items():
                if oracle.turns[pool] and not broker:
                    stage.fail("a wake-up was lost for", pool)
                if len(broker) > 40:
                    stage.fail("messages pile up for", pool)
            for worker in self._workers:
                worker.shift()
            self._io.work_off()
            if not oracle.opened():
                break
        else:
            stage.fail("never ends:", [r.id for r in oracle.opened()])
        self.compare()


def _record(r: Record) -> dict[str, str | None]:
    return {
        "status": r.status, "attempt": str(r.attempt), "claim": r.claim, "queue": r.queue, "pool": r.pool,
        "account": r.account, "flow": r.flow, "rows": str(r.rows), "bytes": str(r.bytes), "score": str(r.score),
        "suspect": str(int(r.suspect)), "alone": str(r.alone), "releases": str(r.releases), "deadline": str(r.deadline),
        "created": str(r.created), "started": str(r.started) if r.started else None,
        "ended": str(r.ended) if r.ended else None, "error": r.error, "error_code": r.code, "held": r.held,
        "followed": "1" if r.followed else None,
    }  # fmt: skip


def _data(r: Record) -> dict[str, str]:
    if not r.has_data:
        return {}
    emitted = str(r.emitted) if r.emitted else None
    facts = {"input": r.input, "output": r.output, "emitted": emitted, "progress": r.progress, "logs": r.logs}
    return {name: value for name, value in facts.items() if value is not None}


def play(port: int, seeds: range, bug: PlantedBug = (), careless: bool = False) -> int:
    """Plays schedules one after another; returns how many steps were checked."""
    wire = Wire(port, bug)
    wire.subscribe(*CHANNELS)
    steps = 0
    try:
        for seed in seeds:
            schedule = Schedule(wire, seed, careless)
            schedule.play()
            steps += len(schedule.stage.steps)
    finally:
        wire.close()
    return steps


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), "--appendonly", "no")
        try:
            for seed in map(int, sys.argv[1:]):
                sys.stdout.write(f"seed {seed}: {play(server.port, range(seed, seed + 1))} steps hold\n")
        finally:
            server.close()
