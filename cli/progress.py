"""Shows a job while it lives: a bar for a training, a line for any other."""

from types import TracebackType
from typing import Any, Self, TypeGuard

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli.client import TERMINAL, Client, Job
from cli.following import states
from cli.terminal import Failure, Interrupted, err, say, this_command


class JobProgress:
    """A live line on standard error, or one plain line for each epoch where that is no terminal.

    Args:
        title: What the job does, in a few words.
        is_quiet: Show nothing.
    """

    def __init__(self, title: str, is_quiet: bool = False) -> None:
        self._title = title
        self._is_live = err.is_terminal and not is_quiet
        self._is_plain = not err.is_terminal and not is_quiet
        self._said = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not self._is_live,
        )
        self._task = self._bar.add_task(title, total=None, facts="")

    def __enter__(self) -> Self:
        """Starts the display."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the display away."""
        self._bar.stop()

    def update(self, job: Job) -> None:
        """Shows a later state of the job."""
        facts = job.get("progress") or {}
        text = describe(job)
        step, steps = facts.get("step"), facts.get("steps")
        if _is_number(step) and _is_number(steps):  # both count all epochs, so the epoch adds nothing
            self._bar.update(self._task, total=float(steps), completed=float(step), facts=text)
        else:
            self._bar.update(self._task, facts=text)
        if self._is_plain:
            mark = f"{job['status']} {facts.get('epoch', '')}"
            if mark != self._said:
                self._said = mark
                say(f"{self._title}: {text}")


def describe(job: Job) -> str:
    """One line on where a job stands."""
    facts = job.get("progress") or {}
    if job["status"] == "starting":
        position = job.get("queue_position")
        return "waiting" if position is None else f"waiting, {position} ahead of it"
    if job["status"] != "processing" or not facts:
        return str(job["status"])
    parts = []
    if "epoch" in facts:
        parts.append(f"epoch {facts['epoch']}/{facts.get('epochs', '?')}")
    parts += [
        f"{name} {facts[name]:.4g}" for name in ("loss", "accuracy", "val_accuracy") if _is_number(facts.get(name))
    ]
    if _is_number(facts.get("eta_seconds")):
        parts.append(f"{facts['eta_seconds']:.0f} s left")
    return "  ".join(parts) or str(facts.get("stage", "processing"))


def watch(client: Client, job: Job, title: str, is_quiet: bool = False) -> Job:
    """Shows a job until its end and answers what became of it.

    Raises:
        Interrupted: Ctrl-C; the job goes on.
    """
    try:
        with JobProgress(title, is_quiet) as display:
            display.update(job)
            if job["status"] not in TERMINAL:
                for latest in states(client, job):
                    job = latest
                    display.update(job)
    except KeyboardInterrupt:
        command, rest = this_command(), f"{job['id']}{client.option}"
        raise Interrupted(
            f"The job goes on; `{command} jobs watch {rest}` shows it again, `{command} jobs cancel {rest}` ends it."
        ) from None
    return job


def succeeded(job: Job) -> Job:
    """The same job, if it has succeeded.

    Raises:
        Failure: It has not.
    """
    if job["status"] != "succeeded":
        raise Failure(f"The job {job['id']} has {_ended(job['status'])}: {job.get('error') or 'no reason is known'}")
    return job


def _ended(status: str) -> str:
    return "been canceled" if status == "canceled" else status


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
