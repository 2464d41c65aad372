"""What is broken, when and for how long: drawn by a seed, so that a run can be had again."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis

from benchmarks.chaos.fleet import Fleet
from benchmarks.chaos.history import History

WORKERS = ("inference-tf", "inference-1", "inference-2", "training-1", "preparing-1", "io-1", "io-2")
ALL = (*WORKERS, "api-1", "api-2")
WITH_CHILDREN = ("api-1", "api-2", "training-1", "preparing-1")
LEASE = 3.0


class Faults:
    """Breaks one fleet.

    Args:
        fleet: The processes.
        history: Where each fault is written.
        seed: Decides everything.
        move_alias: Moves the alias of the model to its other version.
    """

    def __init__(self, fleet: Fleet, history: History, seed: int, move_alias: Callable[[], Any]) -> None:
        self._fleet, self._history, self._move_alias = fleet, history, move_alias
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self.counts: Counter[str] = Counter()
        self._moves: dict[str, tuple[float, Callable[[], dict[str, Any]]]] = {
            "kill -9": (6, self._kill),
            "kill -9 of all inference workers": (0.7, self._kill_all),
            "kill -9 of a parent alone": (1, lambda: self._kill_alone(is_parent=True)),
            "kill -9 of a child alone": (1, lambda: self._kill_alone(is_parent=False)),
            "terminate": (2, self._terminate),
            "stopped past the lease": (2, lambda: self._pause(self._dice.uniform(LEASE * 1.3, LEASE * 3))),
            "stopped shorter than the lease": (2, lambda: self._pause(self._dice.uniform(0.3, LEASE * 0.6))),
            "redis restarted": (0.5, self._restart_redis),
            "redis kill -9": (0.7, self._kill_redis),
            "redis stopped": (0.7, self._pause_redis),
            "redis out of memory": (0.7, self._fill_redis),
            "all connections killed": (1, self._kill_connections),
            "bells dropped": (2, self._drop_bells),
            "bells doubled": (1, self._double_bells),
            "clock stepped": (1, self._step_clock),
            "link slow": (1.5, lambda: self._link("slow")),
            "link lossy": (1.5, lambda: self._link("lossy")),
            "link cut": (2, lambda: self._link("cut")),
            "store full": (0.7, lambda: self._store("full")),
            "store away": (0.7, lambda: self._store("away")),
            "store slow": (0.7, lambda: self._store("slow")),
            "store gives half": (0.7, lambda: self._store("half")),
            "alias moved": (2, self._alias),
        }

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, and makes everything well again."""
        self._stop.set()
        self._thread.join(60)
        for name in ALL:
            self._fleet.link(name, "ok")
        self._say("store", "")
        self._say("clock", "0")
        self._fleet.wait_for_redis()
        self._fleet.client().config_set("maxmemory", 0)

    def _run(self) -> None:
        names, weights = list(self._moves), [weight for weight, _ in self._moves.values()]
        while not self._stop.wait(self._dice.uniform(0.5, 3.0)):
            name = self._dice.choices(names, weights)[0]
            try:
                facts = self._moves[name][1]()
            except (redis.RedisError, OSError) as error:
                facts = {"failed": type(error).__name__}
            self.counts[name] += 1
            self._history.add("fault", name=name, **facts)

    def _later(self, seconds: float, action: Callable[..., Any], *args: Any) -> None:
        timer = threading.Timer(seconds, action, args)
        timer.daemon = True
        timer.start()

    def _kill(self) -> dict[str, Any]:
        name = self._dice.choice(ALL)
        self._fleet.kill(name)
        return {"process": name}

    def _kill_all(self) -> dict[str, Any]:
        for name in WORKERS[:3]:
            self._fleet.kill(name)
        return {}

    def _kill_alone(self, *, is_parent: bool) -> dict[str, Any]:
        name = self._dice.choice(WITH_CHILDREN)
        return {"process": name, "pid": self._fleet.kill_alone(name, is_parent=is_parent)}

    def _terminate(self) -> dict[str, Any]:
        name = self._dice.choice(ALL)
        self._fleet.terminate(name)
        return {"process": name}

    def _pause(self, seconds: float) -> dict[str, Any]:
        name = self._dice.choice(ALL)
        self._fleet.pause(name, seconds)
        return {"process": name, "pid": self._fleet.pid(name), "seconds": seconds}

    def _restart_redis(self) -> dict[str, Any]:
        self._fleet.terminate("redis")
        return {}

    def _kill_redis(self) -> dict[str, Any]:
        self._fleet.kill("redis")
        return {}

    def _pause_redis(self) -> dict[str, Any]:
        seconds = self._dice.uniform(0.3, 4)
        self._fleet.pause("redis", seconds)
        return {"seconds": seconds}

    def _fill_redis(self) -> dict[str, Any]:
        seconds = self._dice.uniform(1, 4)
        self._fleet.client().config_set("maxmemory", "1mb")
        self._later(seconds, self._free_redis)
        return {"seconds": seconds}

    def _free_redis(self) -> None:
        while True:
            try:
                self._fleet.client().config_set("maxmemory", 0)
                return
            except redis.RedisError:
                time.sleep(0.2)

    def _kill_connections(self) -> dict[str, Any]:
        return {"connections": self._fleet.client().client_kill_filter(_type="normal", skipme=True)}

    def _celery_queues(self) -> list[bytes]:
        names = self._fleet.client().keys("headrace:celery:*")
        return [name for name in names if self._fleet.client().type(name) == b"list"]

    def _hold_bells(self) -> None:
        """Stops those who answer bells for a moment, so that some lie there."""
        for name in WORKERS:
            self._fleet.pause(name, 0.6)
        time.sleep(0.4)

    def _drop_bells(self) -> dict[str, Any]:
        self._hold_bells()
        return {"messages": sum(int(self._fleet.client().delete(name)) for name in self._celery_queues())}

    def _double_bells(self) -> dict[str, Any]:
        self._hold_bells()
        client, doubled = self._fleet.client(), 0
        for name in self._celery_queues():
            for message in client.lrange(name, 0, -1):
                client.lpush(name, message)
                doubled += 1
        return {"messages": doubled}

    def _step_clock(self) -> dict[str, Any]:
        offset = self._dice.choice((-3600, -30, -2, 2, 30, 3600))
        self._say("clock", str(offset))
        self._later(self._dice.uniform(2, 8), self._say, "clock", "0")
        return {"seconds": offset}

    def _link(self, state: str) -> dict[str, Any]:
        name, seconds = self._dice.choice(ALL), self._dice.uniform(0.5, 6)
        self._fleet.link(name, state)
        self._later(seconds, self._fleet.link, name, "ok")
        return {"process": name, "seconds": seconds}

    def _store(self, fate: str) -> dict[str, Any]:
        seconds = self._dice.uniform(1, 5)
        self._say("store", fate)
        self._later(seconds, self._say, "store", "")
        return {"seconds": seconds}

    def _alias(self) -> dict[str, Any]:
        threading.Thread(target=self._move_alias, daemon=True).start()
        return {}

    def _say(self, name: str, text: str) -> None:
        path = self._fleet.folder / name
        beside = path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(path)
