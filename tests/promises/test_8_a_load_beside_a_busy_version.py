import threading
import time
from collections.abc import Callable

import pytest

from tests.promises.conftest import PLAIN, Stack
from tests.promises.crowd import another_model, slow_down, submit

pytestmark = pytest.mark.long
LOAD_SECONDS = 3.0
CLIENTS = 4


class Callers:
    """Clients that each call the model again as soon as they are answered, and note how long that took."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self.latencies: list[float] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(CLIENTS)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            assert self._stack.post([1, PLAIN], Prefer="wait")["output"] == [2]
            self.latencies.append(time.monotonic() - began)

    def p99_during(self, wait: Callable[[], None]) -> float:
        before = len(self.latencies)
        wait()
        return sorted(self.latencies[before:])[-max(1, (len(self.latencies) - before) // 100)]


@pytest.mark.parametrize("is_promoted", [False, True])
def test_a_load_beside_a_busy_version_at_most_doubles_its_p99_with_two_workers(stack: Stack, is_promoted: bool) -> None:
    slow_down(stack, stack.version, 0.1)
    other = another_model(stack, "other")
    (stack.signals / f"slow-load-{other}").write_text(str(LOAD_SECONDS))
    stack.start_worker()
    stack.start_worker()
    with Callers(stack) as callers:
        stack.wait(lambda: len(list(stack.signals.glob(f"loaded-{stack.version}-*"))) == 2, "both workers", 60)
        until = time.monotonic() + 6
        idle = callers.p99_during(lambda: stack.wait(lambda: time.monotonic() > until, "six seconds"))

        def loads() -> None:
            if is_promoted:
                path = "/v1/models/acme/other/aliases/candidate"
                assert stack.call("PUT", path, {"version": other}).status_code == 202

            def is_loaded_twice() -> bool:
                if not is_promoted:
                    submit(stack, [3], account="others", version=other)
                time.sleep(0.05)
                return len(list(stack.signals.glob(f"loaded-{other}-*"))) == 2

            stack.wait(is_loaded_twice, "the loads", 60)

        busy = callers.p99_during(loads)

    assert busy <= 2 * idle, (idle, busy)
