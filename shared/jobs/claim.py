"""What a worker holds between take and settle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import JobError

PART_BYTES = 16_777_216
"""Bytes of outputs after which a settle goes on in another call."""


@dataclass(frozen=True, slots=True)
class TakenJob:
    """One job of a claim."""

    id: str
    attempt: int
    rows: int
    deadline_ms: int
    """By Redis' clock."""
    input: bytes
    spill: str
    """Path of the input in the artifact store, where it is too large for Redis."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a take."""

    claim: str
    jobs: Sequence[TakenJob]
    has_more: bool
    now_ms: int
    """Redis' clock at the take."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job of a claim ended."""

    id: str
    attempt: int
    output: bytes | None = None
    """JSON, of a job that succeeded."""
    error: JobError | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


def parts(outcomes: Sequence[Outcome], most: int) -> Iterator[Sequence[Outcome]]:
    """Outcomes in parts of at most so many jobs, and not many more bytes than one call of a script should carry."""
    part: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        if part and (len(part) == most or size > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(outcome)
        size += len(outcome.output or b"")
    if part:
        yield part
