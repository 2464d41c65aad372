"""Hands out the io worker's errands: sleeps until something is due, leases it, and gives each a thread.

No host keeps another waiting. Hosts that answer promptly have threads of their own, a few each. All others, slow,
failing or not known yet, share the rest, and whatever runs for long counts among them from then on. Downloads have
threads of their own, shared out alike, so that no receiver of webhooks keeps a job from its inputs.
"""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog

from shared.connections import Redis, translated
from shared.errors import ServiceError
from shared.jobs.new_job import is_fetch_lane
from shared.jobs.outgoing import Errand, Outgoing
from shared.outages import Outage
from shared.settings import Settings
from workers.outgoing.circuits import Circuits

log = structlog.get_logger(__name__)

BACKSTOP_SECONDS = 5.0
"""How often the dispatcher looks although nothing told it to; the scripts know it."""

_RETRY_SECONDS = 0.5
_SILENCE_SECONDS = 15.0


class Dispatcher:
    """The one of a process.

    Args:
        redis: The server.
        outgoing: The lanes.
        circuits: How hosts behave.
        runners: What does an errand, by what it is; one for the rest under the empty text.
        settings: The process's settings.
    """

    def __init__(
        self,
        redis: Redis,
        outgoing: Outgoing,
        circuits: Circuits,
        runners: Mapping[str, Callable[[Errand], None]],
        settings: Settings,
    ) -> None:
        self._redis = redis
        self._outgoing = outgoing
        self._circuits = circuits
        self._runners = runners
        self._settings = settings.webhooks
        self._fetch_threads = settings.outgoing.fetch_threads
        self._running: dict[threading.Thread, tuple[Errand, float]] = {}
        self._chains: dict[tuple[str, str], deque[Errand]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._dispatch, name="dispatcher", daemon=True),
            threading.Thread(target=self._listen, name="dispatcher-ear", daemon=True),
        ]

    def start(self) -> None:
        """Begins to take errands."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Takes no more; what is under way goes on."""
        self._stop.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Waits so long for what is under way; the rest is handed over to another worker."""
        until = time.monotonic() + seconds
        self._threads[0].join(seconds)  # it ends first, so that nothing is begun any more
        while (left := until - time.monotonic()) > 0:
            with self._lock:
                thread = next(iter(self._running), None)
            if thread is None:
                break
            thread.join(left)
        self._hand_over()
        with contextlib.suppress(ServiceError), translated():
            self._redis.publish(self._outgoing.channel, "")  # for the ear
        self._threads[1].join(max(0.5, until - time.monotonic()))

    def _hand_over(self) -> None:
        """Makes due at once what is still under way; what it comes to here does not count any more."""
        with self._lock:
            left = [errand for errand, _ in self._running.values()]
            left += [errand for chain in self._chains.values() for errand in chain]
        for errand in left:
            log.info("an errand is handed over", what=errand.what, job=errand.job_id, host=errand.host)
            with contextlib.suppress(ServiceError):  # then its lease passes
                self._outgoing.postpone(errand, 0.0)

    def _dispatch(self) -> None:
        outage = Outage(log, "no errands can be had")
        while not self._stop.is_set():
            self._wake.clear()
            try:
                seconds = self._round()
                outage.over()
            except ServiceError as error:
                outage.failed(error)
                seconds = _RETRY_SECONDS
            except Exception:
                log.exception("errands cannot be handed out")
                seconds = _RETRY_SECONDS
            self._wake.wait(seconds)

    def _round(self) -> float:
        """Leases as much as there is room for; answers after how many seconds to look again."""
        limits, waits = self._settings, [BACKSTOP_SECONDS]
        full = self._share(limits.threads, limits.slow_threads, waits, fetches=False)
        slow = self._fetch_threads // 2
        full |= self._share(self._fetch_threads - slow, slow, waits, fetches=True)
        return 0.0 if full else max(0.0, min(waits))

    def _share(self, threads: int, slow_threads: int, waits: list[float], *, fetches: bool) -> bool:
        """Leases for the threads that downloads have, or for those of all else; answers as ``_lease`` does."""
        limits, now = self._settings, time.monotonic()
        lease = partial(self._lease, waits=waits, fetches=fetches)
        with self._lock:
            running = [
                (errand.host, begun)
                for errand, begun in self._running.values()
                if is_fetch_lane(errand.host) is fetches
            ]
        late = {host for host, begun in running if now - begun >= limits.slow_seconds}
        busy = Counter(host for host, _ in running)
        prompt = [host for host in self._circuits.prompt(fetches=fetches) if host not in late]
        others = len(running) - sum(busy[host] for host in prompt)
        waits += [limits.slow_seconds - (now - begun) for host, begun in running if host not in late]

        # Only hosts that answer promptly: a host that is not named may have nothing.
        full = lease(threads - len(running) + others, 0, {host: busy[host] - limits.per_host for host in prompt})
        # All the rest: several each until half of their share is taken, one each from then on.
        held = {**busy, **dict.fromkeys(prompt, limits.per_host)}
        half = slow_threads // 2
        if others < half:
            held |= {host: busy[host] + limits.per_host - 1 for host in self._circuits.failing(fetches=fetches)}
            return lease(half - others, limits.per_host, held) or full
        return lease(slow_threads - others, 1, held) or full

    def _lease(self, room: int, per_host: int, busy: Mapping[str, int], waits: list[float], *, fetches: bool) -> bool:
        """Leases and begins so many errands; answers whether there may be more, and notes when more will be due."""
        if room <= 0 or (per_host == 0 and not busy):
            return False
        leased = self._outgoing.lease(room, per_host=per_host, busy=busy, fetches=fetches)
        # The end of a job last: one that came at once has the same due time as its start.
        for errand in sorted(leased.errands, key=lambda errand: errand.what == "completed"):
            self._begin(errand)
        if leased.next_due_seconds is not None:
            waits.append(leased.next_due_seconds)
        return len(leased.errands) >= room

    def _begin(self, errand: Errand) -> None:
        key = (errand.host, errand.job_id)
        with self._lock:
            chain = self._chains.get(key)
            if chain is not None:
                # One job's webhooks go out in their order; what would only tell of the way is told by its end.
                if errand.what == "completed":
                    for passed in [other for other in chain if other.what == "progress"]:
                        chain.remove(passed)
                chain.append(errand)
                return
            self._chains[key] = deque([errand])
            thread = threading.Thread(target=self._run, args=(key,), name="errand", daemon=True)
            self._running[thread] = (errand, time.monotonic())
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: its lease passes, and it is done again
            with self._lock:
                del self._chains[key], self._running[thread]
            raise

    def _run(self, key: tuple[str, str]) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                chain = self._chains[key]
                if not chain:
                    del self._chains[key]
                    del self._running[me]
                    break
                errand = chain.popleft()
                begun = time.monotonic()
                self._running[me] = (errand, begun)
            run = self._runners.get(errand.what, self._runners[""])
            try:
                run(errand)
            except ServiceError as error:
                # Its lease passes, and it is done again.
                log.warning("an errand was cut short", what=errand.what, job=errand.job_id, error=str(error))
            except Exception:
                log.exception("an errand failed", what=errand.what, job=errand.job_id)
            self._circuits.took(errand.host, time.monotonic() - begun)
        self._wake.set()

    def _listen(self) -> None:
        """Hears that work is due; messages may be lost with a connection, so each new one looks."""
        outage = Outage(log, "the dispatcher's subscription broke")
        while not self._stop.is_set():
            try:
                with translated(), self._redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
                    subscription.subscribe(self._outgoing.channel)
                    outage.over()
                    self._hear(subscription)
            except ServiceError as error:
                outage.failed(error)
            except Exception:
                log.exception("the dispatcher hears nothing")
            self._stop.wait(_RETRY_SECONDS)

    def _hear(self, subscription: Any) -> None:
        heard, asked = time.monotonic(), False
        while not self._stop.is_set():
            message = subscription.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                heard, asked = now, False
                self._wake.set()
            elif now - heard > 2 * _SILENCE_SECONDS:
                return
            elif now - heard > _SILENCE_SECONDS and not asked:
                asked = True
                subscription.ping()
