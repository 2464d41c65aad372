"""The callers of a schedule: they submit, repeat themselves, cancel and delete."""

import math

from shared.jobs.job import WEIGHTS
from tests.shared.jobs.stage import CHANNELS, FETCHES, HOSTS, KEEP, MAX_BYTES, MAX_ROWS, POOLS, RETAIN, Stage

FOREVER = 1_000_000_000


class Clients:
    """All callers together.

    Args:
        stage: The schedule's world.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._limits = (
            stage.random.choice((12, 40)),
            stage.random.choice((120, 400)),
            stage.random.choice((14, 60)),
            stage.random.choice((150, 600)),
        )

    def submit(self) -> None:
        """One request, perhaps sent twice, perhaps known already by its key or its id."""
        stage, dice = self._stage, self._stage.random
        queue = dice.choice(list(POOLS))
        account, priority = dice.choice("AB"), dice.choice(list(WEIGHTS))
        rows, size = dice.choice((1, 1, 2, 3, 9)), dice.choice((1, 10, 10, 30, 90))
        cost = WEIGHTS[priority] * max(1, rows, math.ceil(size * MAX_ROWS / MAX_BYTES))
        life = dice.randint(500, 5000) if dice.random() < 0.15 else FOREVER
        key = f"{account}:k{dice.randint(0, 4)}" if dice.random() < 0.3 else ""
        id_ = stage.name("j")
        if stage.oracle.records and dice.random() < 0.06:
            id_, key = dice.choice(list(stage.oracle.records)), ""
        spill = f"inputs/{id_}" if dice.random() < 0.2 else ""
        fields = (
            "kind", "training" if queue == "training" else "prediction",
            "model", dice.choice(("", "a/b", "a/c")),
            "deadline_by", dice.choice(("caller", "default")),
            "spill", spill,
            "scratch", f"checkpoints/{id_}" if queue == "training" else "",
            "hook", dice.choice(("", "", "c", "sc", "ol", "solc")),
            "hook_host", dice.choice(HOSTS),
            "held", dice.choice(FETCHES) if dice.random() < 0.12 else "",
            *(("followed", 1) if dice.random() < 0.1 else ()),
        )  # fmt: skip
        args = (
            id_, queue, POOLS[queue], account, priority, rows, size, cost, life, KEEP, RETAIN, key,
            dice.choice(("same", "same", "other")), *self._limits, dice.choice(("", *CHANNELS)),
            "" if spill else f"input of {id_}", *fields,
        )  # fmt: skip
        for _ in range(2 if stage.chance(0.1) else 1):
            state, known, ring, *_ = stage.call("submit", *args)
            if state == "new":
                stage.oracle.records[known].poison = dice.random() < 0.06
            if state in ("new", "dup") and ring:
                stage.ring(POOLS[queue], known)

    def cancel(self) -> None:
        """Cancels some job, whatever its state."""
        stage = self._stage
        stage.call("cancel", stage.random.choice([*stage.oracle.records, "unknown"]))

    def follow(self) -> None:
        """Opens a stream of some job's events."""
        stage = self._stage
        stage.call("follow", stage.random.choice([*stage.oracle.records, "unknown"]))

    def redeliver(self) -> None:
        """Asks for some webhook again."""
        stage, dice = self._stage, self._stage.random
        tried = [id_ for id_, what in stage.oracle.tries if what == "completed"]
        id_ = dice.choice(tried if tried and dice.random() < 0.5 else [*stage.oracle.records, "unknown"])
        what = dice.choice(("start", "completed", "completed"))
        if stage.call("redeliver", id_, what):
            stage.delivered.discard(f"{id_}|{what}")

    def delete(self) -> None:
        """Deletes some job; refused while it is open."""
        stage = self._stage
        # Few jobs have a dead letter, and one that is deleted then must leave none.
        dead = sorted(name.partition("|")[0] for _, name in stage.oracle.dead)
        chosen = dead if dead and stage.random.random() < 0.3 else [*stage.oracle.records, "unknown"]
        stage.call("delete", stage.random.choice(chosen))
