"""What an engine sees of the job it works on."""

from typing import Any, Protocol

from shared.jobs.job import Job


class Run(Protocol):
    """One attempt at one job. Every method may raise ``JobCanceled`` or ``JobReleased``; both must pass through."""

    job: Job

    def log(self, line: str) -> None:
        """Appends a line to the job's logs; sent with the next report, at the latest after a second."""

    def report(self, **facts: Any) -> None:
        """Publishes progress, JSON values: ``epoch``, ``loss``, ``stage``, ``eta_seconds`` and the like."""

    def checkpointed(self) -> None:
        """Says that a later attempt can go on from here, so that earlier deaths of workers no longer count."""

    def check(self) -> None:
        """Raises where the job is no longer ours or the worker shuts down; cheap enough for every step."""
