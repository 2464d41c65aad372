"""Fetches the inputs of a job that are URLs, before the job joins its queue.

A run downloads one file after the other into the artifact store and then lets the job in. What is there stays there
for the next run, whichever worker makes it, so that a run may be left at any moment: the job may be canceled or expire
meanwhile, and the worker may stop or die.
"""

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import structlog

from shared.artifacts import REFERENCE, ArtifactStore
from shared.content_types import sniff
from shared.errors import InputError, NotFound, ServiceError, Unavailable, version_gone
from shared.http_client import FileTooLarge, HttpClient, HttpFailed, TargetRefused
from shared.jobs.job import Job, JobStatus
from shared.jobs.new_job import fetched_path
from shared.jobs.outgoing import Errand, Outgoing
from shared.jobs.queue import JobQueue
from shared.jobs.store import JobStore
from shared.models.registry import ModelRegistry
from shared.settings import Settings

log = structlog.get_logger(__name__)

CODE = "E1005"
_IMAGES = frozenset(f"image/{name}" for name in ("png", "jpeg", "webp", "gif", "bmp", "tiff"))
_IMAGES_NAMED = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_HEAD_BYTES = 64
_PAUSES = (1.0, 5.0, 15.0)
"""Seconds before another attempt, by how many there were; the last for all further ones."""
_MAX_RETRY_AFTER = 30.0
_FULL_SECONDS = 1.0
_STORE_SECONDS = 5.0
_SPARE_SECONDS = 5.0
_TOGETHER = "all files of the job have more than {} bytes together"


class _Over(Exception):
    """Raised when a job is no longer held: it has ended, or another worker let it in."""


class _Stopping(Exception):
    """Raised when this worker shuts down."""


class Fetcher:
    """One process's downloads; its ``run`` may be called from many threads.

    Args:
        settings: The process's settings.
        client: What downloads.
        outgoing: The lanes.
        queue: Lets jobs in.
        jobs: Where jobs are read.
        artifacts: Where files go.
        registry: Knows which versions there are.
        stopping: Set when this process shuts down.
    """

    def __init__(
        self,
        settings: Settings,
        client: HttpClient,
        outgoing: Outgoing,
        queue: JobQueue,
        jobs: JobStore,
        artifacts: ArtifactStore,
        registry: ModelRegistry,
        stopping: threading.Event,
    ) -> None:
        self._limits = settings.outgoing
        self._open_bytes = min(settings.queue.max_bytes, settings.queue.account_max_bytes)
        self._client = client
        self._outgoing = outgoing
        self._queue = queue
        self._jobs = jobs
        self._artifacts = artifacts
        self._registry = registry
        self._stopping = stopping
        self._folder = (settings.http.upload_dir or settings.data_dir / "uploads").expanduser()
        # A run that begins another file after this long could outlive its lease.
        self._run_seconds = settings.webhooks.lease_seconds - self._limits.fetch_timeout_seconds - _SPARE_SECONDS

    def run(self, errand: Errand) -> None:
        """Goes on with a job's downloads, and lets it in or ends it where that was the last thing to do."""
        job = self._jobs.get(errand.job_id)
        try:
            if job is None or job.status is not JobStatus.STARTING:
                raise _Over
            self._check_version(job)
            self._fetch(job, errand)
        except _Over:
            self._outgoing.done(errand)
            self._tidy(errand.job_id)
        except _Stopping:
            self._outgoing.postpone(errand, 0)
        except (ServiceError, OSError) as error:
            log.warning("inputs cannot be fetched now", job=errand.job_id, error=str(error))
            self._outgoing.postpone(errand, _STORE_SECONDS)

    def _check_version(self, job: Job) -> None:
        """Ends a job whose version was deleted between its submission and now; the deletion ends those it sees."""
        self._registry.forget()  # what was looked up a moment ago may be from before the deletion
        try:
            self._registry.version(job.version)
        except NotFound as error:
            self._queue.refuse(job.id, version_gone())
            raise _Over from error

    def _fetch(self, job: Job, errand: Errand) -> None:
        begun, size, has_fetched = time.monotonic(), 0, False
        folder, missing = fetched_path(job.id, 0).rpartition("/")[0], []
        here = set(self._artifacts.names(folder))
        for reference, url in _foreign(job):
            path = reference.removeprefix(REFERENCE)
            if path.rpartition("/")[2] in here:
                size += self._artifacts.size(path)
            else:
                missing.append((reference, path, url))
        for reference, path, url in missing:
            if has_fetched and time.monotonic() - begun > self._run_seconds:
                self._outgoing.postpone(errand, 0)
                return
            try:
                room = self._room(job.id, size)
                size += self._download(job.id, url, path, size, room) if room else 0
            except (HttpFailed, TargetRefused, InputError) as error:
                self._weigh(job.id, size)
                self._failed(job, errand, reference, error)
                return
            if not room:
                self._outgoing.postpone(errand, _FULL_SECONDS)
                return
            has_fetched = True
        own = self._weigh(job.id, size)
        answer = "full" if own is None else self._queue.admit(job.id, own + size)
        if answer == "full":
            self._outgoing.postpone(errand, _FULL_SECONDS)
        elif answer == "gone":
            raise _Over

    def _room(self, job_id: str, size: int) -> int:
        """How large the next file may be, beside so many bytes; 0 where the account has no room for one now.

        So much counts for the account before it comes, so that downloads under way pass no limit.

        Raises:
            InputError: The job has as much as one may have.
        """
        own = self._weigh(job_id, size)
        if own is None:
            return 0
        most = min(self._limits.fetch_job_bytes, self._open_bytes - own)
        room = min(self._limits.fetch_bytes, most - size)
        if room <= 0:
            raise InputError(_TOGETHER.format(most), CODE)
        return room if self._weigh(job_id, size + room) is not None else 0

    def _weigh(self, job_id: str, fetched: int) -> int | None:
        """Counts so many bytes beside the job's own, which are answered; ``None`` where the account has no room."""
        state, own = self._outgoing.weigh(job_id, fetched)
        if state == "gone":
            raise _Over
        return own if state == "held" else None

    def _download(self, job_id: str, url: str, path: str, size: int, room: int) -> int:
        """Brings one file into the store, beside so many bytes that are there; returns its own."""
        self._check(job_id)
        self._folder.mkdir(parents=True, exist_ok=True)
        # It has no name, so nothing of it stays if the process is killed.
        with tempfile.TemporaryFile(dir=self._folder) as file:
            image = _ImageFile(file)
            try:
                self._client.download(
                    url,
                    image,
                    timeout_seconds=self._limits.fetch_timeout_seconds,
                    max_bytes=room,
                    check=lambda: self._check(job_id),
                )
            except FileTooLarge as error:
                if room == self._limits.fetch_bytes:
                    raise
                raise InputError(_TOGETHER.format(size + room), CODE) from error
            image.check()
            self._check(job_id)
            self._artifacts.put_open(file, path)
        # It may have ended while the file was copied, and its folder have been cleared away already.
        self._check(job_id)
        return image.size

    def _failed(self, job: Job, errand: Errand, reference: str, error: HttpFailed | TargetRefused | InputError) -> None:
        tries = errand.tries + 1
        if isinstance(error, HttpFailed) and not error.is_permanent and tries < self._limits.fetch_tries:
            pause = max(_PAUSES[min(tries, len(_PAUSES)) - 1], _retry_after(error))
            log.info("an input will be fetched again", job=job.id, error=str(error), seconds=pause)
            self._outgoing.retry(errand, pause)
            return
        sentence = error.message if isinstance(error, InputError) else str(error).removesuffix(".")
        sentence = sentence[:1].lower() + sentence[1:]
        log.info("an input cannot be fetched", job=job.id, error=sentence, tries=tries)
        self._queue.refuse(job.id, InputError(f"{_place(job.input, reference)} cannot be fetched: {sentence}", CODE))
        raise _Over

    def _check(self, job_id: str) -> None:
        if self._stopping.is_set():
            raise _Stopping
        with suppress(ServiceError):
            job = self._jobs.peek(job_id)
            if job is None or job.status is not JobStatus.STARTING:
                raise _Over

    def _tidy(self, job_id: str) -> None:
        """Removes what came after a job's end, when the sweeps may have been there already."""
        job = self._jobs.peek(job_id)
        if job is None or job.is_terminal:
            self._artifacts.delete(fetched_path(job_id, 0).rpartition("/")[0])


class _ImageFile:
    """A file on its way in, refused as soon as its first bytes show that it is no image."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._head = b""
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        if len(self._head) < _HEAD_BYTES:
            self._head += data[:_HEAD_BYTES]
            if len(self._head) >= _HEAD_BYTES:
                self.check()
        try:
            return self._file.write(data)
        except OSError as error:
            raise Unavailable(f"This machine has no room for a download: {error.strerror}.") from error

    def check(self) -> None:
        if sniff(self._head) not in _IMAGES:
            raise InputError(f"what is there is not a {_IMAGES_NAMED} image", CODE)


def _foreign(job: Job) -> Iterator[tuple[str, str]]:
    """What stands in a job's input for each URL that is to be fetched, and the URL, in order."""
    sources: Mapping[str, str] = job.details.get("sources") or {}
    own = REFERENCE + fetched_path(job.id, 0).rpartition("/")[0] + "/"
    return ((reference, url) for reference, url in sources.items() if reference.startswith(own))


def _place(value: Any, reference: str) -> str:
    """Where a reference stands in an input: ``image``, or ``image[2]``."""
    for name, given in value.items() if isinstance(value, dict) else ():
        if given == reference:
            return str(name)
        if isinstance(given, list) and reference in given:
            return f"{name}[{given.index(reference)}]"
    return "an input"


def _retry_after(error: HttpFailed) -> float:
    text = (error.retry_after or "").strip()
    return min(float(text[:6]), _MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
