"""``headrace jobs``: what was asked of the service, and what became of it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cli.client import Client, Job
from cli.downloads import with_output
from cli.progress import succeeded, watch
from cli.terminal import (
    Commands,
    as_json_option,
    data_dir_option,
    print_facts,
    print_json,
    print_table,
    say,
    with_options,
)
from shared.jobs.job import JobKind, JobStatus

_UNITS = {"_seconds": "s", "_time": "s", "_bytes": "B"}
"""How names end whose values have a unit."""

_options = with_options(data_dir_option, as_json_option)
_id = click.argument("job_id", metavar="ID")


@click.group(cls=Commands)
def jobs() -> None:
    """List, show, watch, cancel and delete jobs of every kind.

    Example: headrace jobs list --status processing
    """


@jobs.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in JobKind]), help="Only jobs of this kind.")
@click.option("--status", type=click.Choice([status.value for status in JobStatus]), help="Only jobs in this status.")
@click.option("--model", help="Only jobs of this model, owner/name.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Most jobs to list.")
@_options
def list_jobs(
    kind: str | None, status: str | None, model: str | None, limit: int, data_dir: Path | None, as_json: bool
) -> None:
    """List the newest jobs.

    Example: headrace jobs list --kind training --limit 5
    """
    client = Client.of_folder(data_dir)
    found = client.pages("/v1/jobs", limit, kind=kind, status=status, model=model, limit=min(limit, 100))
    if as_json:
        print_json(found)
        return
    rows = [
        (job["id"], job.get("kind"), job["status"], _subject(job), local_time(job["created_at"]), job.get("error"))
        for job in found
    ]
    print_table(("id", "kind", "status", "about", "created", "error"), rows, "There are no such jobs.")


@jobs.command()
@_id
@_options
def show(job_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Show one job.

    Example: headrace jobs show a01hxyz…
    """
    client = Client.of_folder(data_dir)
    show_job(with_output(client, client.get(f"/v1/jobs/{job_id}")), as_json)


@jobs.command("watch")
@_id
@_options
def watch_job(job_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Follow one job to its end; the exit status is 1 unless it succeeds.

    Example: headrace jobs watch a01hxyz…
    """
    client = Client.of_folder(data_dir)
    job = client.get(f"/v1/jobs/{job_id}")
    job = watch(client, job, str(job.get("kind", "job")), is_quiet=as_json)
    show_job(with_output(client, job), as_json)
    succeeded(job)


@jobs.command()
@_id
@_options
def cancel(job_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Cancel one job, waiting or running; one that has ended stays as it is.

    Example: headrace jobs cancel a01hxyz…
    """
    job = Client.of_folder(data_dir).post(f"/v1/jobs/{job_id}/cancel")
    if as_json:
        print_json(job)
    else:
        say(f"The job {job_id} is {job['status']}.")


@jobs.command()
@_id
@_options
def delete(job_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Delete one job with everything that is kept of it; an open one is canceled first.

    Example: headrace jobs delete a01hxyz…
    """
    Client.of_folder(data_dir).delete(f"/v1/jobs/{job_id}")
    if as_json:
        print_json({"deleted": job_id})
    else:
        say(f"The job {job_id} is deleted.")


def show_job(job: Job, as_json: bool) -> None:
    """Prints one job."""
    if as_json:
        print_json(job)
        return
    names = ("id", "kind", "status", "model", "version", "error", "attempt", "queue_position", "rows", "priority")
    facts: dict[str, Any] = {name.replace("_", " "): job.get(name) for name in names}
    times = {
        name.removesuffix("_at"): local_time(job.get(name)) for name in ("created_at", "started_at", "completed_at")
    }
    groups = {
        name: ", ".join(f"{key} {_short(key, value)}" for key, value in job[name].items())
        for name in ("metrics", "progress", "details")
        if job.get(name)
    }
    print_facts({**facts, **times, **groups})
    if job.get("data_removed"):
        say("Its input, output and logs have been removed: their time was over.")
    if job.get("output") is not None:
        print_json(job["output"])
    if job.get("logs"):
        say(job["logs"].rstrip())


def local_time(text: str | None) -> str:
    """A moment of the API in this machine's time, without fractions."""
    return "" if not text else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _subject(job: Job) -> Any:
    """What the job makes, or else the model that it uses."""
    details = job.get("details") or {}
    return details.get("destination") or job.get("model") or details.get("name")


def _short(name: str, value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    return f"{text} {unit}" if unit and isinstance(value, int | float) else text
