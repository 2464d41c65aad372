"""The claims that this process holds: renewed from a thread, so that a long computation keeps its jobs.

The same thread is the watchdog. A computation that passes its time limit cannot be stopped from inside a solo worker,
so the process dumps its stacks and ends with status 70; the lease runs out and another worker takes the jobs.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from shared.errors import ServiceError, Unavailable
from shared.jobs.claim import Outcome, Taken
from shared.jobs.queue import JobQueue
from shared.settings import Settings
from shared.watchdog import WATCHDOG_STATUS

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 60.0
"""How long finished jobs are kept in hand while Redis does not answer."""


class Claim:
    """One claim and which of its jobs are still ours.

    Args:
        taken: What the take answered.
        lease_seconds: How long a renewal lasts.
    """

    def __init__(self, taken: Taken, lease_seconds: float) -> None:
        self.id = taken.claim
        self.jobs = taken.jobs
        self._lease = lease_seconds
        self._held = frozenset(job.id for job in taken.jobs)
        self._renewed = time.monotonic()
        # Redis' clock, seen from ours: an upper bound would be unsafe, and the reply took a moment to come.
        self._offset_ms = taken.now_ms - time.monotonic() * 1000

    @property
    def held(self) -> frozenset[str]:
        """Ids of the jobs that are ours; none once no renewal came through for the length of a lease."""
        return self._held if time.monotonic() - self._renewed < self._lease else frozenset()

    @property
    def redis_now_ms(self) -> float:
        """Redis' clock, by the reply to the take and our own steady clock."""
        return self._offset_ms + time.monotonic() * 1000

    def renewed(self, held: set[str]) -> None:
        """Notes the answer to a renewal."""
        self._held = frozenset(held)
        self._renewed = time.monotonic()


class Claims:
    """All claims of the process.

    Args:
        queue: The queue they come from.
        settings: The process's settings.
    """

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        self._queue = queue
        self._lease = settings.queue.lease_seconds
        self._period = min(self._lease / 3, 1.0)
        self._claims: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._limit: float | None = None
        self._thread: threading.Thread | None = None

    def hold(self, taken: Taken) -> Claim:
        """Begins to renew a claim."""
        claim = Claim(taken, self._lease)
        with self._lock:
            self._claims[claim.id] = claim
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
                self._thread.start()
        return claim

    def drop(self, claim: Claim) -> None:
        """Renews a claim no more."""
        with self._lock:
            self._claims.pop(claim.id, None)

    def give_back(self, claim: Claim, *, counts: bool = True) -> None:
        """Hands a claim's jobs back that this process could not end; ``counts`` unless they are known not to blame."""
        self.drop(claim)
        try:
            self._queue.release(claim.id, counts=counts)
        except Exception:
            # The lease runs out, and the jobs move on as suspects.
            log.exception("a claim could not be handed back", claim=claim.id)

    def release_all(self) -> None:
        """Hands back every claim, as at shutdown."""
        with self._lock:
            claims, self._claims = list(self._claims), {}
        for claim in claims:
            self._queue.release(claim)

    @contextmanager
    def watched(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Ends the process where the block takes longer than it may; what it yields starts the time anew.

        For the thread that computes alone. A block in a block has the time of the shorter one.
        """
        outer = self._limit

        def begin() -> None:
            mine = time.monotonic() + seconds
            self._limit = mine if outer is None else min(outer, mine)

        begin()
        try:
            yield begin
        finally:
            self._limit = outer

    def _run(self) -> None:
        while True:
            time.sleep(self._period)
            limit = self._limit
            if limit is not None and time.monotonic() > limit:
                log.error("watchdog: the computation passed its time limit; ending the process")
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                os._exit(WATCHDOG_STATUS)
            with self._lock:
                claims = list(self._claims.values())
            for claim in claims:
                try:
                    held = self._queue.renew(claim.id)
                    claim.renewed(held)
                    if not held:
                        self.drop(claim)
                except ServiceError as error:
                    log.warning("a claim could not be renewed", error=str(error))
                except Exception:
                    log.exception("a claim could not be renewed")


def settle_patiently(queue: JobQueue, claim: Claim, outcomes: Sequence[Outcome], **measures: Any) -> list[str]:
    """Settles, again and again while Redis does not answer; gives up when the jobs must be somebody else's by then."""
    until = time.monotonic() + PATIENCE_SECONDS
    pause = 0.05
    while True:
        try:
            return queue.settle(claim.id, outcomes, **measures)
        except Unavailable:
            if time.monotonic() > until:
                log.error("gave up settling", claim=claim.id, jobs=len(outcomes))
                return ["lost"] * len(outcomes)
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
