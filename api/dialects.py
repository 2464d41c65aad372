"""Says what happened to a job in the events of one kind of stream: ours, or the one that stock clients read.

A job that is handed back begins again and puts the same items out once more; a reader hears each of them once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from api.sse import json_line, text_of
from shared.jobs.events import Event
from shared.jobs.job import Job, JobStatus

Said = tuple[str, str]
"""The name of an event and its data."""

_REASONS = {JobStatus.FAILED: "error", JobStatus.CANCELED: "canceled"}
_COUNTERS = frozenset({"done", "epoch", "epochs", "eta_seconds", "step", "steps", "total"})
"""Numbers in a report of progress that say where it is, and measure nothing."""


class Dialect(ABC):
    """What one stream has said so far."""

    def __init__(self) -> None:
        self._told = 0

    def event(self, event: Event) -> list[Said]:
        """What an entry of the job's stream is to the reader; the end of the job is not said here."""
        if event.name == "log":
            return [self.log(event.data)]
        if event.name == "progress":
            return self.progress(event.data)
        if event.name == "output":
            part = orjson.loads(event.data)
            return self.items(part["first"], part["items"])
        return self.status(event.data)

    def items(self, first: int, items: Sequence[Any]) -> list[Said]:
        """Those of the items that were not said before.

        Args:
            first: The place of the first of them in the whole output.
            items: Some of the output, in order.
        """
        fresh = items[max(0, self._told - first) :]
        self._told = max(self._told, first + len(items))
        return [("output", self.output(item)) for item in fresh]

    def rest(self, job: Job, output: Any, is_many: bool) -> list[Said]:
        """What of the output of a job that has ended was not said before.

        Args:
            job: The job.
            output: Its output as a reply shows it.
            is_many: Whether the output is a list of the answers to rows.
        """
        if output is None:
            return []
        if is_many and isinstance(output, list):
            return self.items(0, output)
        if self._told >= job.rows:
            return []
        self._told = job.rows
        return [("output", self.output(output))]

    @abstractmethod
    def status(self, status: str) -> list[Said]:
        """The job is in another status, in which it has not ended."""

    @abstractmethod
    def progress(self, facts: str) -> list[Said]:
        """The job has reported facts, a JSON object."""

    @abstractmethod
    def log(self, text: str) -> Said:
        """The job has logged."""

    @abstractmethod
    def output(self, item: Any) -> str:
        """The data of an item of the output."""

    @abstractmethod
    def gap(self, missed: int) -> list[Said]:
        """Events are gone that the reader has not had."""

    @abstractmethod
    def end(self, status: JobStatus, error: str | None, metrics: Mapping[str, Any]) -> Iterable[Said]:
        """The job has ended; the output is said."""


class NativeDialect(Dialect):
    """``status``, ``progress``, ``log``, ``metric``, ``output``, ``gap`` and ``done``."""

    def __init__(self) -> None:
        super().__init__()
        self._measured: dict[str, Any] = {}

    def status(self, status: str) -> list[Said]:
        """The status as a word."""
        return [("status", status)]

    def progress(self, facts: str) -> list[Said]:
        """The facts, and what among them is a measurement and new."""
        found = orjson.loads(facts)
        measured = {name: value for name, value in found.items() if name not in _COUNTERS and _is_number(value)}
        said = [("progress", json_line(found))]
        if measured and measured != self._measured:
            self._measured = measured
            said.append(("metric", json_line(measured)))
        return said

    def log(self, text: str) -> Said:
        """The lines."""
        return "log", text

    def output(self, item: Any) -> str:
        """The item as JSON, also where it is a text."""
        return json_line(item)

    def gap(self, missed: int) -> list[Said]:
        """How many events are gone."""
        return [("gap", json_line({"missed": missed}))]

    def end(self, status: JobStatus, error: str | None, metrics: Mapping[str, Any]) -> Iterable[Said]:
        """The metrics of the whole job, its status, and why it ended so."""
        if metrics:
            yield "metric", json_line(metrics)
        yield "status", status
        yield "done", json_line({"status": status, **({"error": error} if error else {}), **_reason(status)})


class ContractDialect(Dialect):
    """``output``, ``logs``, ``error`` and ``done``; stock clients fail at any other."""

    def status(self, status: str) -> list[Said]:
        """Nothing."""
        return []

    def progress(self, facts: str) -> list[Said]:
        """Nothing."""
        return []

    def log(self, text: str) -> Said:
        """The lines."""
        return "logs", text

    def output(self, item: Any) -> str:
        """The item as a text."""
        return text_of(item)

    def gap(self, missed: int) -> list[Said]:
        """Nothing."""
        return []

    def end(self, status: JobStatus, error: str | None, metrics: Mapping[str, Any]) -> Iterable[Said]:
        """The error of a job that failed, and the end."""
        if status is JobStatus.FAILED:
            yield "error", json_line({"detail": error or "the job failed"})
        yield "done", json_line(_reason(status))


def _reason(status: JobStatus) -> dict[str, str]:
    return {"reason": _REASONS[status]} if status in _REASONS else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
