"""Uploads a file with a bar on standard error."""

from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.client import Client, Job
from cli.terminal import err


def upload(
    client: Client, path: str, fields: Mapping[str, str], file: Path, is_quiet: bool = False, part: str = "file"
) -> Job:
    """Sends a file and answers what came of it, mostly a job.

    Args:
        client: The server.
        path: Where to.
        fields: Plain fields that go with it.
        file: The file.
        is_quiet: Show nothing.
        part: What the part of the file is called.
    """
    client.get("/v1/account")  # a wrong key shall be known before gigabytes are sent
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=is_quiet or not err.is_terminal,
    ) as bar:
        task = bar.add_task(f"sending {file.name}", total=file.stat().st_size)
        return client.upload(path, fields, file, on_read=lambda size: bar.advance(task, size), part=part)
