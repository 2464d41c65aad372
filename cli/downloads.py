"""Fetches what lies behind the signed links of the server: files, and outputs that are too large for a reply."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from cli.client import Client, Job
from cli.terminal import Failure

_BLOCK_BYTES = 1 << 20


def path_of(url: str) -> str:
    """Path and query of a link; the server may know itself by another name than we do."""
    target = urlsplit(url)
    return f"{target.path}?{target.query}"


def with_output(client: Client, job: Job) -> Job:
    """A job with its output itself, where the reply had only a link to it."""
    file = job.get("output_file")
    return {**job, "output": client.get(path_of(file["url"]))} if file else job


def save(client: Client, url: str, to: Path, sha256: str) -> None:
    """Writes the bytes behind a link to a file, which is there only when they are complete.

    Raises:
        Failure: They cannot be written, or are not what they were.
    """
    draft = to.with_name(f"{to.name}.part")
    digest = hashlib.sha256()
    try:
        with client.stream(path_of(url)) as reply, draft.open("wb") as file:
            for block in reply.iter_content(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != sha256:
            raise Failure(f"What came for {to} is not what was uploaded; try again.")
        draft.replace(to)
    except OSError as error:
        raise Failure(f"The file cannot be written to {to}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
