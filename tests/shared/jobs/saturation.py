"""Sixteen workers, a lossy broker and a sweep in each process, in simulated time: how the bells behave under load."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.shared.jobs.wire import Wire

POOL = "predict.cpu"
WORKERS = 16
BEGIN = 1_800_000_000_000
LATER = 10**12
SLICE, PERIOD = 1.0, 1.0


@dataclass
class Outcome:
    """What a run showed."""

    takes: int = 0
    messages: int = 0
    most_in_broker: int = 0
    longest_sleep: float = 0.0
    """Longest time with ready work, no worker awake and no message, in seconds, once the rush was over."""


class Saturation:
    """One run.

    Args:
        wire: The server, emptied here.
        lost: Share of messages that are lost.
        doubled: Share of messages that come twice.
        rush: Seconds for which new work never ends; two jobs a second after that.
        sure_nudges: Whether the messages of sweeps are never lost.
    """

    def __init__(
        self, wire: Wire, *, lost: float, doubled: float, rush: float = 1e9, sure_nudges: bool = False
    ) -> None:
        self.outcome = Outcome()
        self._wire, self._dice = wire, random.Random(1)
        self._lost, self._doubled, self._rush, self._sure = lost, doubled, rush, sure_nudges
        self._time = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._broker: deque[str] = deque()
        self._idle = set(range(WORKERS))
        self._names = 0
        self._waiting = 0
        self._asleep_since: float | None = None
        wire.do("FLUSHALL")

    def run(self, seconds: float) -> Outcome:
        """Simulates so many seconds."""
        for worker in range(WORKERS):
            self._after(self._dice.random(), lambda worker=worker: self._sweep(worker))
        self._after(0, self._feed)
        while self._events and self._time < seconds:
            self._time, _, event = heapq.heappop(self._events)
            event()
            while self._idle and self._broker:
                worker, token = self._idle.pop(), self._broker.popleft()
                self._drain(worker, token, token, self._time + SLICE)
            self._note_sleep()
        return self.outcome

    def _after(self, delay: float, event: Callable[[], None]) -> None:
        self._names += 1
        heapq.heappush(self._events, (self._time + delay, self._names, event))

    @property
    def _now(self) -> int:
        return BEGIN + int(self._time * 1000)

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _ring(self, token: str, sure: bool = False) -> None:
        self.outcome.messages += 1
        luck = 0.5 if sure else self._dice.random()
        for copy in range(0 if luck < self._lost else 2 if luck > 1 - self._doubled else 1):
            self._after(0.002 + copy * self._dice.random() * 3, lambda: self._arrive(token))

    def _arrive(self, token: str) -> None:
        self._broker.append(token)
        self.outcome.most_in_broker = max(self.outcome.most_in_broker, len(self._broker))

    def _feed(self) -> None:
        if self._time < self._rush:
            self._submit(max(0, 800 - self._waiting))
            self._after(0.2, self._feed)
        else:
            self._submit(1)
            self._after(self._dice.expovariate(2), self._feed)

    def _submit(self, count: int) -> None:
        for _ in range(count):
            id_ = self._name("j")
            fields = ("kind", "prediction", "deadline_by", "default", "spill", "", "hook", "0")
            _, _, ring, *_ = self._wire.call(
                "submit", self._now, id_, f"m{self._names % 3}", POOL, f"a{self._names % 5}", "normal", 1, 1, 4, LATER,
                100_000, 100_000, "", "", LATER, LATER, LATER, LATER, "", "{}", *fields,
            )  # fmt: skip
            self._waiting += 1
            if ring:
                self._ring(id_)

    def _drain(self, worker: int, message: str, token: str, until: float) -> None:
        lines = self._wire.call("look", self._now, POOL, message)
        if not lines or self._time >= until:
            self._idle.add(worker)
            return
        claim = self._name("c")
        ring, _, _, _, _, *jobs = self._wire.call(
            "take", self._now, lines[0], POOL, claim, 8, LATER, 5_000, 60_000, 1, token, 8
        )
        self.outcome.takes += 1
        self._waiting -= len(jobs)
        if ring:
            self._ring(claim)
        self._after(0.2 * (0.5 + self._dice.random()), lambda: self._done(worker, message, claim, jobs, until))

    def _done(self, worker: int, message: str, claim: str, jobs: list[list[object]], until: float) -> None:
        items = [part for job in jobs for part in (job[0], job[1], "succeeded", "1", "", "")]
        if items:
            self._wire.call("settle", self._now, claim, 0, 0, 0, *items)
        self._drain(worker, message, "", until)

    def _sweep(self, worker: int) -> None:
        token = self._name("t")
        if self._wire.call("sweep", self._now, POOL, int(not self._broker), int(PERIOD * 1000), token):
            self._ring(token, self._sure)
        self._after(PERIOD, lambda: self._sweep(worker))

    def _note_sleep(self) -> None:
        asleep = self._waiting > 0 and len(self._idle) == WORKERS and not self._broker and self._time > self._rush + 10
        if asleep and self._asleep_since is None:
            self._asleep_since = self._time
        if self._asleep_since is not None:
            self.outcome.longest_sleep = max(self.outcome.longest_sleep, self._time - self._asleep_since)
        if not asleep:
            self._asleep_since = None
