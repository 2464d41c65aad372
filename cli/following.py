"""Follows a job by its events, so that what happens is seen when it happens; by asking again where that cannot be."""

import json
from collections.abc import Iterator

import requests

from cli.client import TERMINAL, Client, Job, RequestRefused

_PAUSE_SECONDS = 0.5


def states(client: Client, job: Job) -> Iterator[Job]:
    """What a job looks like each time that something happened to it, the last time at its end.

    Args:
        client: The server.
        job: The job as it was last seen.
    """
    last = ""
    while True:
        try:
            with client.stream(f"/v1/jobs/{job['id']}/events?last_event_id={last}") as reply:
                for name, data, place in _events(reply):
                    last = place or last
                    if name == "progress":
                        job = {**job, "progress": json.loads(data)}
                    elif name in ("", "status", "done"):  # "": a sign of life, while others may have left the queue
                        job = client.get(f"/v1/jobs/{job['id']}")
                    else:
                        continue
                    yield job
                    if job["status"] in TERMINAL:
                        return
        except RequestRefused:  # the server has no place for one more stream
            yield from client.follow(job["id"])
            return
        except requests.RequestException:
            pass
        client.pause(_PAUSE_SECONDS)
        job = client.get(f"/v1/jobs/{job['id']}")  # waits for a server that is away
        yield job
        if job["status"] in TERMINAL:
            return


def _events(reply: requests.Response) -> Iterator[tuple[str, str, str]]:
    """Name, data and id of each event; of a comment nothing."""
    fields: dict[str, str] = {}
    for line in reply.iter_lines(chunk_size=None):
        name, _, value = line.decode().partition(":")
        if line:
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield fields.get("event", "message"), fields["data"], fields.get("id", "")
            fields = {}
        elif fields:
            yield "", "", ""
            fields = {}
