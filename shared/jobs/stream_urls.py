"""The URL under which a prediction's output is streamed; it opens by itself, since stock clients send no key there."""

import math
from typing import TYPE_CHECKING

from shared.connections import Redis
from shared.settings import Settings
from shared.signed_urls import SignedUrls

if TYPE_CHECKING:
    from shared.jobs.job import Job

PURPOSE = "stream"
"""What the signed URLs of streams are for."""


class StreamUrls:
    """Makes and checks them.

    Args:
        redis: The server.
        settings: The process's settings.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._signed = SignedUrls(redis, settings)
        self._retain = settings.jobs.retain_seconds

    def url(self, job: "Job", base: str) -> str:
        """The URL for as long as there may be something to stream: until the deadline, and while the data is kept."""
        until = math.ceil(job.deadline + self._retain)
        return f"{base}/v1/streams/{job.id}/{self._signed.sign(PURPOSE, job.account, job.id, until)}"

    def opens(self, job: "Job", token: str) -> bool:
        """Whether a token opens the stream of a job now."""
        return self._signed.check(PURPOSE, job.account, job.id, token)
