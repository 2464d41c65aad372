"""Where a schedule plays: server, oracle, clock, and a broker that loses, doubles and reorders messages."""

import random
from collections import defaultdict
from typing import Any, NoReturn

from tests.shared.jobs.ledger import OPEN
from tests.shared.jobs.oracle import Oracle
from tests.shared.jobs.wire import Wire, text

MAX_ROWS, MAX_BYTES = 6, 60
LEASE, HARD, PERIOD = 1000, 4000, 1000
MAX_ALONE = 2
KEEP, RETAIN = 100_000_000, 50_000_000
POOLS = {"m1": "predict.cpu", "m2": "predict.cpu", "training": "train.cpu"}
HOSTS = ("h1", "h2", "h3")
FETCHES = ("fetch@h1", "fetch@h2", "h3")
"""Lanes of downloads; an earlier release had the webhooks' lane."""
LANES = tuple(dict.fromkeys(HOSTS + FETCHES))
CHANNELS = ("wake:1", "wake:2")


class Violation(AssertionError):
    """Raised when the scripts broke a rule."""


class Stage:
    """One schedule's world.

    Args:
        wire: The server, emptied here.
        seed: Decides everything that happens.
    """

    def __init__(self, wire: Wire, seed: int) -> None:
        self.wire, self.seed = wire, seed
        self.random = random.Random(seed)
        self.oracle = Oracle()
        self.now = 1_800_000_000_000 + self.random.randrange(1000)
        self.brokers: dict[str, list[str]] = {pool: [] for pool in POOLS.values()}
        self.is_faulty = True
        self.ended: set[str] = set()
        self.delivered: set[str] = set()
        self.steps: list[tuple[Any, ...]] = []
        self._names: dict[str, int] = defaultdict(int)
        wire.do("FLUSHALL")
        wire.messages.clear()

    def fail(self, *what: object) -> NoReturn:
        """Ends the schedule with what was broken and how it came to it."""
        story = "\n".join(f"  {' '.join(map(str, step))}" for step in self.steps[-15:])
        raise Violation(
            f"{' '.join(map(str, what))}\nseed {self.seed}, after {len(self.steps)} steps; alone: "
            f"python -m tests.shared.jobs.schedules {self.seed}\n{story}"
        )

    def chance(self, share: float) -> bool:
        """True in this share of the cases while there are faults."""
        return self.is_faulty and self.random.random() < share

    def name(self, kind: str) -> str:
        """A name never used before."""
        self._names[kind] += 1
        return f"{kind}{self._names[kind]}"

    def call(self, script: str, *args: Any, at: int = 0) -> Any:
        """Runs a script; its answer, the state after it and who was woken must be as foretold.

        Args:
            script: Its name.
            args: What follows the clock.
            at: Another moment than now.
        """
        now = at or self.now
        self.steps.append((now, script, *args))
        foretold = getattr(self.oracle, script)(now, *args)
        reply, faults = self.wire.send(
            self.wire.script(script, now, *args),
            self.wire.script("check", now, MAX_ROWS, MAX_BYTES, KEEP, RETAIN),
        )
        if (reply := text(reply)) != foretold:
            self.fail(script, "answered", repr(reply), "and not", foretold)
        if faults:
            self.fail("after", script, "the check says:", text(faults))
        if sorted(self.wire.messages) != sorted(self.oracle.woken):
            self.fail(script, "woke", self.wire.messages, "and not", self.oracle.woken)
        self.wire.messages.clear()
        self.oracle.woken.clear()
        self._note_ends(script, args, reply)
        return reply

    def ring(self, pool: str, token: str) -> None:
        """Sends a message: it may be lost, or doubled, and comes when it likes."""
        luck = self.random.random() if self.is_faulty else 0.5
        broker = self.brokers[pool]
        for _ in range(0 if luck < 0.12 else 2 if luck > 0.92 else 1):
            broker.insert(self.random.randint(0, len(broker)), token)

    def _note_ends(self, script: str, args: tuple[Any, ...], reply: Any) -> None:
        ended: list[str] = []
        if script == "take":
            ended = reply[4]
        elif script == "settle":
            ended = [id_ for id_, state in zip(args[4::6], reply, strict=True) if state == "ok"]
        elif (script == "cancel" and reply in OPEN) or (script == "refuse" and reply):
            ended = [args[0]]
        elif script == "expire":
            ended = reply
        elif script == "reclaim":
            ended = reply[1]
        for id_ in ended:
            if id_ in self.ended:
                self.fail(id_, "ended a second time")
            self.ended.add(id_)
