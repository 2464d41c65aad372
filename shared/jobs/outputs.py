"""Keeps outputs that are too large for a reply in the artifact store, and shows them as URLs of our own.

The record of such a job has a reference in place of the output: text that no JSON begins with. The scripts give the
file its time when the job ends, and delete it with the job; until then the list of things to delete holds it for a
worker that dies in between.
"""

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from shared.artifacts import REFERENCE, ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import Unavailable
from shared.settings import Settings
from shared.signed_urls import SignedUrls

if TYPE_CHECKING:
    from shared.jobs.job import Job

PURPOSE = "output"
"""What the signed URLs of outputs are for."""

_PENDING_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class OutputFile:
    """Where an output lies that is too large for a reply."""

    path: str
    """In the artifact store; JSON."""
    size: int

    @property
    def reference(self) -> bytes:
        """What stands in the record in its place."""
        return f"{REFERENCE}{self.path} {self.size}".encode()

    @classmethod
    def parse(cls, text: bytes) -> "OutputFile | None":
        """Reads what stands in a record; ``None`` for an output as such."""
        if not text.startswith(REFERENCE.encode()):
            return None
        path, _, size = text.decode().removeprefix(REFERENCE).partition(" ")
        return cls(path, int(size))


class LargeOutputs:
    """Writes and shows them.

    Args:
        redis: The server.
        settings: The process's settings.
        artifacts: Where they lie.
    """

    def __init__(self, redis: Redis, settings: Settings, artifacts: ArtifactStore) -> None:
        self._redis = redis
        self._artifacts = artifacts
        self._signed = SignedUrls(redis, settings)
        self._spilled = open_keyspace(settings).in_shard("spilled")
        self._limits = settings.files

    def write(self, job_id: str, attempt: int, output: bytes) -> bytes:
        """Puts an output where it belongs: one that is too large for a reply into the store.

        Args:
            job_id: The job.
            attempt: Which attempt made it; each has a file of its own, since two may write at once.
            output: JSON.

        Returns:
            What the record gets.

        Raises:
            Unavailable: The store or Redis does not answer.
        """
        if len(output) <= self._limits.inline_output_bytes:
            return output
        file = OutputFile(f"outputs/{job_id}-{attempt}.json", len(output))
        with translated():
            self._redis.zadd(self._spilled, {file.path: int((time.time() + _PENDING_SECONDS) * 1000)})
        self._artifacts.write(file.path, output)
        return file.reference

    def url(self, job: "Job", base: str) -> str:
        """A URL that opens the output of a job for a while, without a key."""
        token = self._signed.sign(PURPOSE, job.account, job.id, int(time.time() + self._limits.url_seconds))
        return f"{base}/v1/jobs/{job.id}/output?token={token}"

    def opens(self, job: "Job", token: str) -> bool:
        """Whether a token opens the output of a job now."""
        return self._signed.check(PURPOSE, job.account, job.id, token)

    def shown(self, job: "Job", base: str, *, is_brief: bool = False) -> Any:
        """What the wire object has in place of such an output.

        Stock clients make a file object of a string that begins with ``https:`` or ``data:``, and of no other. Of
        the output of a version that iterates they read on from where they are, so that it stays a list.

        Args:
            job: A job with ``output_file``.
            base: What URLs begin with.
            is_brief: Never read the store.

        Raises:
            Unavailable: The store does not answer, and the output must be the list that it has.
        """
        file = job.output_file
        if file is not None and job.iterates and not is_brief:
            try:
                return orjson.loads(self._artifacts.read(file.path))
            except FileNotFoundError:
                return None
        if file is not None and base.startswith("http:") and not is_brief and file.size <= self._limits.data_url_bytes:
            try:
                return "data:application/json;base64," + base64.b64encode(self._artifacts.read(file.path)).decode()
            except (FileNotFoundError, Unavailable):
                pass
        return self.url(job, base)
