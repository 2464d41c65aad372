import math
import random
from collections.abc import Callable, Iterator

import pytest

from shared.jobs.job import WEIGHTS
from tests.conftest import RedisServer
from tests.shared.jobs.wire import TAG, Wire

NOW = 1_800_000_000_000
POOL = "predict.cpu"
MAX_ROWS, MAX_BYTES = 64, 64_000
BEFORE = 2_000


class Line:
    """Submits and takes on an empty server, without a worker's other duties."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._made = self._claims = 0
        wire.do("FLUSHALL")

    def submit(
        self, account: str, priority: str = "normal", *, count: int = 1, rows: int = 1, size: int = 10, queue: str = "m"
    ) -> list[str]:
        cost = WEIGHTS[priority] * max(1, rows, math.ceil(size * MAX_ROWS / MAX_BYTES))
        ids, commands = [], []
        for _ in range(count):
            self._made += 1
            ids.append(f"j{self._made:06d}")
            fields = ("kind", "prediction", "deadline_by", "default", "spill", "", "hook", "0")
            commands.append(
                self.wire.script(
                    "submit",
                    NOW,
                    ids[-1],
                    queue,
                    POOL,
                    account,
                    priority,
                    rows,
                    size,
                    cost,
                    NOW,
                    9_999_999,
                    9_999_999,
                    "",
                    "",
                    10**9,
                    10**12,
                    10**9,
                    10**12,
                    "",
                    "",
                    *fields,
                )  # fmt: skip
            )
        for state, *_ in self.wire.send(*commands):
            assert state == b"new"
        return ids

    def take(self, queue: str = "m", now: int = NOW) -> list[str]:
        self._claims += 1
        claim = f"c{self._claims}"
        reply = self.wire.call("take", now, queue, POOL, claim, MAX_ROWS, MAX_BYTES, 1_000, 5_000, 1, "", MAX_ROWS)
        return [job[0] for job in reply[5:]]

    def turn(self, now: int = NOW) -> str:
        return str(self.wire.call("look", now, POOL, "")[0])

    def batches_before(self, id_: str, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Batches of others that are taken before the one with this job."""
        for batches in range(500):
            meanwhile()
            if id_ in self.take():
                return batches
        raise AssertionError(f"{id_} was never taken")


@pytest.fixture
def line(redis_server: RedisServer) -> Iterator[Line]:
    wire = Wire(redis_server.port)
    yield Line(wire)
    wire.close()


def test_a_backlog_of_another_account_costs_a_job_at_most_one_batch(line: Line) -> None:
    line.submit("a", count=BEFORE)
    for _ in range(3):
        line.take()

    (mine,) = line.submit("b")

    assert line.batches_before(mine) <= 1


@pytest.mark.parametrize("seed", range(6))
def test_a_backlog_of_mixed_sizes_costs_a_job_at_most_one_batch(line: Line, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(400):
        line.submit("a", rows=dice.choice((1, 1, 2, 8, 40, 64)), size=dice.choice((10, 500, 3_000, 20_000, 60_000)))
    for _ in range(dice.randint(0, 9)):
        line.take()

    (mine,) = line.submit("b", rows=dice.choice((1, 8, 64)), size=dice.choice((10, 20_000, 60_000)))

    assert line.batches_before(mine) <= 1


@pytest.mark.parametrize("theirs", WEIGHTS)
@pytest.mark.parametrize("mine", WEIGHTS)
@pytest.mark.parametrize("rows", [1, 64])
def test_across_priorities_the_wait_is_the_ratio_of_the_weights(line: Line, mine: str, theirs: str, rows: int) -> None:
    line.submit("a", theirs, count=BEFORE)
    line.take()

    (job,) = line.submit("b", mine, rows=rows)

    bound = 1 + math.ceil(rows * WEIGHTS[mine] / (WEIGHTS[theirs] * MAX_ROWS))
    assert line.batches_before(job) <= bound


def test_a_low_job_does_not_starve_under_an_unending_stream_of_high_ones(line: Line) -> None:
    line.submit("a", "high", count=200)
    (low,) = line.submit("a", "low")

    assert line.batches_before(low, lambda: line.submit("a", "high", count=64)) <= 2


def test_a_low_job_does_not_starve_under_ever_new_accounts(line: Line) -> None:
    line.submit("a", "high", count=200)
    (low,) = line.submit("b", "low")
    newcomers = iter(range(10_000))

    def arrive() -> None:
        for _ in range(64):
            line.submit(f"n{next(newcomers)}", "high")

    assert line.batches_before(low, arrive) <= WEIGHTS["low"]


def test_jobs_of_one_flow_leave_in_the_order_they_came(line: Line) -> None:
    ids = line.submit("a", count=500)
    line.submit("b", count=500)

    taken = [id_ for _ in range(8) for id_ in line.take() if id_ in ids]

    assert taken == ids[: len(taken)]
    assert taken


def test_priorities_share_as_16_to_4_to_1(line: Line) -> None:
    ids = {priority: set(line.submit("a", priority, count=BEFORE)) for priority in ("high", "normal", "low")}

    taken = [id_ for _ in range(21) for id_ in line.take()]

    shares = [sum(id_ in ids[priority] for id_ in taken) for priority in ("high", "normal", "low")]
    assert sum(shares) == 21 * MAX_ROWS
    assert shares == pytest.approx([16 * MAX_ROWS, 4 * MAX_ROWS, MAX_ROWS], abs=3)


def test_accounts_of_one_priority_share_alike(line: Line) -> None:
    ids = {account: set(line.submit(account, count=BEFORE)) for account in "abc"}

    taken = [id_ for _ in range(15) for id_ in line.take()]

    assert [sum(id_ in ids[account] for id_ in taken) for account in "abc"] == pytest.approx([320] * 3, abs=2)


def test_an_account_that_uses_every_priority_gains_less_than_a_third(line: Line) -> None:
    for priority in WEIGHTS:
        line.submit("a", priority, count=BEFORE)
    theirs = set(line.submit("b", "high", count=BEFORE))

    taken = [id_ for _ in range(20) for id_ in line.take()]

    assert (len(taken) - sum(id_ in theirs for id_ in taken)) / sum(id_ in theirs for id_ in taken) < 4 / 3


def test_canceled_jobs_are_not_charged(line: Line) -> None:
    line.submit("b", count=BEFORE)
    for id_ in line.submit("a", count=500):
        line.wire.call("cancel", NOW, id_)

    (mine,) = line.submit("a")

    assert line.batches_before(mine) <= 1


def test_a_big_job_is_never_skipped_over(line: Line) -> None:
    line.submit("a", rows=60)
    (big,) = line.submit("a", rows=64)
    line.submit("a", count=200)

    assert line.batches_before(big) == 1


def test_a_job_larger_than_a_batch_goes_alone(line: Line) -> None:
    (large,) = line.submit("a", rows=200)
    line.submit("a", count=10)

    assert line.take() == [large]
    assert len(line.take()) == 10


def test_two_queues_take_turns_whatever_their_length(line: Line) -> None:
    line.submit("a", count=BEFORE, queue="busy")
    for _ in range(5):
        line.take("busy")
    line.submit("b", count=200, queue="fresh")

    turns = []
    for _ in range(6):
        turns.append(line.turn())
        line.take(turns[-1])

    assert turns == ["busy", "fresh", "busy", "fresh", "busy", "fresh"]


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
def test_queues_take_turns_over_a_step_of_the_clock(line: Line, step: int) -> None:
    line.submit("a", count=500, queue="m1")
    line.submit("a", count=500, queue="m2")
    line.take("m1")
    line.take("m2")

    turns = []
    for _ in range(4):
        turns.append(line.turn(NOW + step))
        line.take(turns[-1], NOW + step)

    assert turns == ["m1", "m2", "m1", "m2"]


def test_suspects_put_nobody_behind(line: Line) -> None:
    line.submit("a", count=BEFORE)
    crashed = line.take()
    line.wire.call("reclaim", NOW + 9_999, 100, 3, "token")
    (mine,) = line.submit("b")

    taken = []
    for _ in range(6):
        turn = line.turn()
        taken.append((turn, line.take(turn)))

    assert [turn for turn, _ in taken] == ["m", "m!"] * 3
    assert mine in taken[0][1]
    assert [ids for turn, ids in taken if turn == "m!"] == [[id_] for id_ in crashed[:3]]


def test_the_virtual_clock_survives_an_empty_queue(line: Line) -> None:
    line.submit("a", count=500)
    while line.take():
        continue
    before = int(line.wire.do("HGET", f"{TAG}:load:m", "v"))

    line.submit("a", count=64)
    line.take()

    assert int(line.wire.do("HGET", f"{TAG}:load:m", "v")) > before
