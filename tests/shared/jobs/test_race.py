from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from shared.connections import open_redis
from tests.conftest import RedisServer
from tests.shared.jobs.racing import KEYS, RACERS, SUBMITTERS, race, settings_of
from tests.shared.jobs.wire import Wire


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, "--appendonly", "yes")
    yield server
    server.close()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_ten_processes_on_the_same_keys_make_each_job_once_and_end_it_once(own_server: RedisServer) -> None:
    roles = ["submit"] * SUBMITTERS + ["work"] * 4 + ["meddle"] * (RACERS - SUBMITTERS - 4)

    with ProcessPoolExecutor(RACERS, mp_context=get_context("spawn")) as processes:
        running = [processes.submit(race, own_server.url, role, number) for number, role in enumerate(roles)]
        reports = [future.result() for future in running]

    ids: dict[str, set[str]] = defaultdict(set)
    made: Counter[str] = Counter()
    for key, id_, is_new in (entry for report in reports[:SUBMITTERS] for entry in report):
        ids[key].add(id_)
        made[key] += int(is_new)
    ends = Counter(id_ for report in reports[SUBMITTERS:] for (id_,) in report)
    every = {id_ for known in ids.values() for id_ in known}
    redis = open_redis(settings_of(own_server.url))
    states = Counter(redis.hget(f"headrace:{{a}}:job:{id_}", "status") for id_ in every)
    entries = redis.zrange("headrace:{a}:outgoing:example.org:443", 0, -1)
    redis.close()
    wire = Wire(own_server.port)
    wrong = wire.do(*wire.script("check", 0, 16, 1 << 20, 30 * 86_400_000, 86_400_000))
    wire.close()

    assert len(every) == len(ids) == KEYS
    assert set(made.values()) == {1}
    assert ends == Counter(every)
    assert states.keys() <= {b"succeeded", b"failed", b"canceled"}
    assert states[b"succeeded"] > 0
    assert sorted(entries) == sorted(f"{id_}|completed".encode() for id_ in every)
    assert wrong == []
