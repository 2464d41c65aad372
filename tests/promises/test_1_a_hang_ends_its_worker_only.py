import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cli.log_files import LogFiles
from cli.processes import RunFile
from cli.supervisor import Program, Supervisor
from tests.promises.conftest import HANG, HERE, PLAIN, Stack

CULPRITS, NEIGHBOURS = 2, 5
DEATHS = 2 * CULPRITS  # in the common batch, and alone
LOAD_SECONDS = 3.0


@pytest.mark.timeout(240)
@pytest.mark.long
def test_a_batch_that_hangs_is_ended_the_culprit_fails_alone_and_the_worker_is_back_as_soon_as_it_loads(
    make_stack: Callable[..., Stack],
) -> None:
    stack = make_stack(
        HEADRACE_INFERENCE__BATCH_TIMEOUT_SECONDS="1",
        HEADRACE_QUEUE__LEASE_SECONDS="0.7",
        HEADRACE_JOBS__MAX_ALONE="1",
    )
    stack.start_api()
    (stack.signals / f"slow-load-{stack.version}").write_text(str(LOAD_SECONDS))
    said: list[tuple[float, str]] = []

    def say(sentence: str) -> None:
        said.append((time.time(), sentence))
        stack.post([98, PLAIN])  # something to do as soon as the worker is back, before any lease has run out

    supervisor = Supervisor(RunFile(stack.folder / "processes.json"), LogFiles(stack.folder / "logs"), say)
    worker = (sys.executable, "-m", "celery", "-A", "numpy_worker", "worker", "-P", "solo", "-Q", "predict.cpu")
    done = threading.Event()
    watcher = threading.Thread(target=supervisor.run, args=(done,))
    watcher.start()
    try:
        began = time.time()
        supervisor.start(Program("worker", (*worker, "--without-mingle", "--without-gossip"), stack.environment, HERE))
        assert stack.ended(stack.post([0, PLAIN])["id"])["output"] == [0]
        for culprit in range(1, CULPRITS + 1):
            _hang(stack, supervisor, culprit)
            assert stack.ended(stack.post([99, PLAIN])["id"])["output"] == [198]
        loads = sorted(path.stat().st_mtime for path in stack.signals.glob("loaded-*"))
    finally:
        done.set()
        watcher.join()
        supervisor.stop(grace_seconds=0.2)
    ends = [moment for moment, _ in said]
    assert len(ends) == DEATHS and len(loads) == DEATHS + 1
    assert all("exit status 70" in sentence and "again at once" in sentence for _, sentence in said)
    # Seconds from each end until the next worker has the model, beside those of the first start of all.
    first, *later = (loaded - before for before, loaded in zip([began, *ends], loads, strict=True))
    assert max(later) < 2 * first + 1, (first, later)


def _hang(stack: Stack, supervisor: Supervisor, culprit: int) -> None:
    """Puts one that hangs among others into one batch, and sees what becomes of each."""
    os.killpg(supervisor.pid("worker"), signal.SIGSTOP)  # it takes them together
    plain = [stack.post([10 * culprit + number, PLAIN])["id"] for number in range(NEIGHBOURS)]
    hanging = stack.post([culprit, HANG])["id"]
    os.killpg(supervisor.pid("worker"), signal.SIGCONT)
    ends: list[dict[str, Any]] = [stack.ended(id_) for id_ in plain]
    assert [end["output"] for end in ends] == [[2 * (10 * culprit + number)] for number in range(NEIGHBOURS)]
    assert {end["attempt"] for end in ends} == {2}
    ended = stack.ended(hanging)
    assert (ended["status"], ended["error_code"]) == ("failed", "E1301")
    batches = [line.split() for line in (stack.signals / "computed").read_text().splitlines()]
    sizes = [int(size) for value, command, size in batches if (value, command) == (str(culprit), str(HANG))]
    assert len(sizes) == 2 and sizes[0] > NEIGHBOURS and sizes[1] == 1
