"""Says what was broken, from the history of a run and the state at its end alone; it has no code of the product."""

import base64
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.chaos.commands import DIE, HANG, NAN, RAISE

TERMINAL = ("succeeded", "failed", "canceled")
CODES = {
    RAISE: {"E1101"}, NAN: {"E1102"}, HANG: {"E1301", "E1101"}, DIE: {"E1301"},
}  # fmt: skip
"""How a row may fail that was told to, on an engine that obeys."""
_DATA_URL = "data:application/json;base64,"
SLACK_SECONDS = 45.0
"""How much later than its deadline a job may end: Redis itself may have been away for so long."""
BEGIN_SLACK_SECONDS = 1.0


@dataclass
class Seen:
    """All that was seen of one job."""

    id: str
    key: str = ""
    kind: str = ""
    values: Sequence[int] = ()
    command: int = 0
    version: str = ""
    rows: int = 1
    created: float = 0.0
    deadline: float = 0.0
    has_own_deadline: bool = False
    webhook: bool = False
    events: Sequence[str] | None = None
    form: str = ""
    sights: list[tuple[float, str, Any, str | None, float]] = field(default_factory=list)
    """When a reply came, its status, output and error code, and when it was asked for."""
    streams: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    cancel_asked: bool = False
    delete_asked: bool = False
    deleted: float = math.inf
    """When the deletion was answered."""

    @property
    def end(self) -> tuple[str, Any, str | None] | None:
        """Status, output and error code once it has ended."""
        return next(((status, output, code) for _, status, output, code, _ in self.sights if status in TERMINAL), None)


def gather(history: Sequence[Mapping[str, Any]]) -> dict[str, Seen]:
    """The jobs of a history."""
    jobs: dict[str, Seen] = {}
    for line in history:
        what = line["what"]
        if what == "accepted":
            job = jobs.setdefault(line["id"], Seen(line["id"]))
            job.key, job.kind, job.values = line["key"], line["kind"], line["values"]
            job.command, job.version, job.rows = line["command"], line["version"], line["rows"]
            job.created, job.deadline = _moment(line["created"]), _moment(line["until"])
            job.has_own_deadline = bool(line.get("deadline"))
            job.webhook, job.form = line["webhook"], line.get("form", "")
            job.events = line["events"]
        elif what == "saw":
            job = jobs.setdefault(line["id"], Seen(line["id"]))
            job.sights.append((line["at"], line["status"], line["output"], line["code"], line["asked"]))
        elif what == "hook":
            jobs.setdefault(line["id"], Seen(line["id"])).hooks.append(dict(line))
        elif what == "events":
            jobs.setdefault(line["id"], Seen(line["id"])).streams.append(dict(line))
        elif what in ("cancel asked", "delete asked"):
            setattr(jobs.setdefault(line["id"], Seen(line["id"])), what.replace(" ", "_"), True)
        elif what == "deleted":
            jobs.setdefault(line["id"], Seen(line["id"])).deleted = line["at"]
    return jobs


def check(
    history: Sequence[Mapping[str, Any]], factors: Mapping[str, float], computed: Sequence[tuple[float, int, int]],
    final: Mapping[str, Any], limits: Mapping[str, int] | None = None,
) -> list[str]:  # fmt: skip
    """Everything that was broken, one sentence each.

    Args:
        history: All lines.
        factors: What each version multiplies by.
        computed: What the engines began: moment, process, value.
        final: The state after all had time to end: ``listed`` ids, ``state`` sentences, ``late`` processes.
        limits: What an account may have open at most, ``rows`` and ``bytes``.
    """
    limits = limits or {}
    jobs = gather(history)
    known = [job for job in jobs.values() if job.kind]
    found: list[str] = []
    for job in known:
        found += (f"{job.id}: {sentence}" for sentence in _of_job(job, factors))
    found += _one_job_for_one_key(history)
    found += _deadlines(known, computed, history)
    found += (
        f"{line['account']} had {line['sum']} {line['of']} open, more than the {limits[line['of']]} it may have"
        for line in history
        if line["what"] == "sum" and line["sum"] > limits.get(line["of"], math.inf)
    )
    expected = {job.id for job in known if job.kind == "prediction" and not job.delete_asked}
    missing = expected - set(final["listed"])
    found += (f"{job_id}: missing in the listing" for job_id in sorted(missing)[:10])
    found += final["state"]
    found += final["late"]
    return found


def _of_job(job: Seen, factors: Mapping[str, float]) -> Iterator[str]:
    last, ended, ends = "", math.inf, set()
    for at, status, output, code, asked in sorted(job.sights, key=lambda sight: sight[0]):
        if status not in TERMINAL:
            # Two readers may write down in the other order what they saw; what was asked later must not be older.
            if asked > ended:
                yield f"was {status} again {asked - ended:.1f} s after its end"
            continue
        if last and status != last:
            yield f"went from {last} to {status}"
        last, ended = status, min(ended, at)
        ends.add((status, repr(output), code))
    if any(sight[4] > job.deleted for sight in job.sights):
        yield "was there after its deletion"
    if len(ends) > 1:
        yield f"ended in more than one way: {sorted(map(str, ends))[:3]}"
    end = job.end
    if end is None:
        if not job.delete_asked:
            yield "never ended"
        return
    yield from _answer(job, *end, factors)
    yield from _webhooks(job, end[0], factors)
    for stream in job.streams:
        yield from _stream(stream["statuses"], stream["over"], end[0])


def _answer(job: Seen, status: str, output: Any, code: str | None, factors: Mapping[str, float]) -> Iterator[str]:
    if job.kind != "prediction":
        if status == "failed":
            yield f"a training failed: {code}"
        return
    if status == "succeeded":
        yield from _values(job, output, factors)
    elif status == "failed":
        if code not in CODES.get(job.command, set()):
            yield f"failed with {code} though its rows were told to {job.command}, form {job.form!r}"
    elif status == "canceled":
        if code == "E1401" and not job.has_own_deadline:
            yield "expired without a deadline of its own"
        if code == "E1403" and not (job.cancel_asked or job.delete_asked):
            yield "canceled though nobody asked"


def _values(job: Seen, output: Any, factors: Mapping[str, float]) -> Iterator[str]:
    answers = _flat(_opened(output))
    right = [value * factors[job.version] for value in job.values]
    if len(answers) != len(right) or any(
        not math.isclose(answer, value, rel_tol=1e-6) for answer, value in zip(answers, right, strict=True)
    ):
        yield f"answered {answers[:3]} and not {right[:3]}"


def _stream(statuses: Sequence[str], is_over: bool, end: str) -> Iterator[str]:
    ends = [place for place, status in enumerate(statuses) if status in TERMINAL]
    if len(ends) > 1 or (ends and ends[0] < len(statuses) - 1):
        yield f"a stream went on after the end: {statuses}"
    if is_over and statuses[-1:] != [end]:
        yield f"a stream ended with {statuses[-1:]} though it {end}"


def _webhooks(job: Seen, status: str, factors: Mapping[str, float]) -> Iterator[str]:
    ends = [hook for hook in job.hooks if hook["status"] in TERMINAL]
    for hook in ends:
        if any(asked > hook["at"] and seen not in TERMINAL for _, seen, _, _, asked in job.sights):
            yield "a webhook told of its end before it had ended"
            break
    if job.kind == "prediction":
        for hook in ends:
            if hook["status"] == "succeeded":
                yield from (f"a webhook {sentence}" for sentence in _values(job, hook["output"], factors))
    if any(not hook["signed"] for hook in job.hooks):
        yield "a webhook was not signed"
    if job.hooks and not job.webhook:
        yield "a webhook came that nobody asked for"
    if job.webhook and not job.delete_asked and not any(hook["fate"] == "ok" for hook in ends):
        yield "the webhook of the end never arrived"
    ids = {hook["hook"] for hook in job.hooks}
    # A delivery does not say of which event it is; what has many rows always comes with a filter.
    allowed = len(job.events) if job.events is not None else 1
    if len(ids) > allowed:
        yield f"{len(ids)} webhook ids for {allowed} events: {sorted(ids)[:3]}"
    if any(hook["status"] != status for hook in ends):
        yield f"a webhook told of {[hook['status'] for hook in ends]} though it {status}"


def _one_job_for_one_key(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ids = defaultdict(set)
    for line in history:
        if line["what"] == "accepted":
            ids[line["key"]].add(line["id"])
    for key, found in ids.items():
        if len(found) > 1:
            yield f"key {key} made {len(found)} jobs: {sorted(found)}"


def _deadlines(
    jobs: Sequence[Seen], computed: Sequence[tuple[float, int, int]], history: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    stops = [
        (line["pid"], line["at"] - 1, line["at"] + line["seconds"] + 1)
        for line in history
        if line["what"] == "fault" and line["name"].startswith("stopped")
    ]
    begun: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for moment, pid, value in computed:
        begun[value].append((moment, pid))
    for job in jobs:
        if job.has_own_deadline and job.kind == "prediction" and not job.form:
            for value in job.values:
                for moment, pid in begun[value]:
                    # A process that is stopped between its look at the clock and the model cannot know.
                    is_excused = any(which == pid and a <= moment <= b for which, a, b in stops)
                    if moment > job.deadline + BEGIN_SLACK_SECONDS and not is_excused:
                        yield f"{job.id}: begun {moment - job.deadline:.2f} s after its deadline"
        opens = [moment for moment, status, *_ in job.sights if status not in TERMINAL]
        if job.has_own_deadline and opens and max(opens) > job.deadline + SLACK_SECONDS:
            yield f"{job.id}: open {max(opens) - job.deadline:.0f} s after its deadline"


def _opened(output: Any) -> Any:
    """An output; one too large for a reply comes as data URL over plain HTTP."""
    if isinstance(output, str) and output.startswith(_DATA_URL):
        return json.loads(base64.b64decode(output.removeprefix(_DATA_URL)))
    return output


def _flat(value: Any) -> list[float]:
    if isinstance(value, Mapping):
        value = next(iter(value.values()))
    if isinstance(value, int | float):
        return [float(value)]
    if isinstance(value, list):
        return [number for item in value for number in _flat(item)]
    return []


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
