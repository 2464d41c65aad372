"""``headrace webhooks``: receive and verify them here, test a receiver, and see what was not delivered."""

import json
import queue
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from cli.client import Client
from cli.jobs import local_time
from cli.receiver import Delivery, Receiver
from cli.terminal import (
    Commands,
    Failure,
    as_json_option,
    data_dir_option,
    on_stop_signals,
    out,
    print_facts,
    print_json,
    print_table,
    say,
    with_options,
)

_options = with_options(data_dir_option, as_json_option)
_job = click.argument("job_id", metavar="JOB")
_LOCAL = ("127.0.0.1", "localhost", "::1")


@click.group(cls=Commands)
def webhooks() -> None:
    """Receive webhooks on this machine, test receivers, rotate the secret, send again what was not delivered.

    Example: headrace webhooks listen
    """


@webhooks.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on; a free one unless given.")
@click.option("--status", type=click.IntRange(200, 599), default=200, show_default=True, help="What to answer each.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after so long.")
@_options
def listen(
    port: int, status: int, count: int | None, seconds: float | None, data_dir: Path | None, as_json: bool
) -> None:
    """Show the webhooks that come to this machine, and whether their signatures are right.

    It registers a loopback address with the server while it runs, for which the key needs the scope admin. The exit
    status is 1 if a signature was wrong, or if fewer came in time than were asked for.

    Example: headrace webhooks listen --count 1
    """
    client = Client.of_folder(data_dir)
    if urlsplit(client.url).hostname not in _LOCAL:
        say(f"{client.url} is another machine: what it sends to a loopback address does not come here.")
    on_stop_signals(_stop)
    shown = wrong = 0
    until = None if seconds is None else time.monotonic() + seconds
    try:
        with Receiver(client, port, status) as receiver:
            say(f"Listening at {receiver.url} — give it as webhook to a job. Ctrl-C stops.")
            while count is None or shown < count:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                try:
                    delivery = receiver.deliveries.get(timeout=1.0 if left is None else min(1.0, left))
                except queue.Empty:
                    continue
                shown, wrong = shown + 1, wrong + (delivery.problem is not None)
                _show(delivery, as_json)
    except KeyboardInterrupt:
        say("Stopped.")
    if wrong:
        raise Failure(f"{wrong} of {shown} were not to be trusted.")
    if count is not None and until is not None and shown < count:
        raise Failure(f"Only {shown} of {count} came within {seconds:g} s.")


@webhooks.command()
@click.argument("url")
@_options
def test(url: str, data_dir: Path | None, as_json: bool) -> None:
    """Send a signed test message to a URL, from where every webhook is sent; the exit status is 1 unless it arrives.

    Example: headrace webhooks test https://example.org/hook
    """
    result = Client.of_folder(data_dir).post("/v1/webhooks/default/test", {"url": url})
    attempt = result["attempt"]
    if as_json:
        print_json(result)
    else:
        names = ("webhook_id", "outcome", "status", "error", "seconds", "reply")
        print_facts({name.replace("_", " "): attempt[name] for name in names})
    if not result["delivered"]:
        raise Failure(f"The test message was not delivered: {attempt['error']}")


@webhooks.command()
@_options
def secret(data_dir: Path | None, as_json: bool) -> None:
    """Print the secret that signs the account's webhooks.

    Example: headrace webhooks secret
    """
    _show_secret(Client.of_folder(data_dir).get("/v1/webhooks/default/secret"), as_json)


@webhooks.command()
@click.option(
    "--overlap",
    type=click.FloatRange(0, 2_592_000),
    metavar="SECONDS",
    help="How long the old secret signs beside the new one; 0 ends it at once, the server's setting unless given.",
)
@_options
def rotate(overlap: float | None, data_dir: Path | None, as_json: bool) -> None:
    """Make a new secret and print it; the old one signs beside it for a while.

    Example: headrace webhooks rotate
    """
    body = {} if overlap is None else {"overlap_seconds": overlap}
    _show_secret(Client.of_folder(data_dir).post("/v1/webhooks/default/secret/rotate", body), as_json)


@webhooks.command()
@_job
@_options
def deliveries(job_id: str, data_dir: Path | None, as_json: bool) -> None:
    """List the attempts to deliver the webhooks of a job, oldest first.

    Example: headrace webhooks deliveries a01hxyz…
    """
    log = Client.of_folder(data_dir).get(f"/v1/jobs/{job_id}/webhook-deliveries")
    if as_json:
        print_json(log)
        return
    rows = [
        (
            local_time(entry["at"]),
            entry["event"],
            entry["attempt"],
            entry["outcome"],
            entry["status"],
            f"{entry['seconds']:.3f}",
            local_time(entry["next_attempt_at"]),
            entry["error"],
        )
        for entry in log["results"]
    ]
    if log["webhook"]:
        say(f"To {log['webhook']}, of {', '.join(log['webhook_events_filter'])}")
    columns = ("at", "event", "attempt", "outcome", "status", "seconds", "next attempt", "error")
    print_table(columns, rows, "Nothing was sent yet." if log["webhook"] else "The job has no webhook.")


@webhooks.command()
@_job
@click.option(
    "--event", type=click.Choice(["completed", "start"]), default="completed", show_default=True, help="Which of them."
)
@_options
def redeliver(job_id: str, event: str, data_dir: Path | None, as_json: bool) -> None:
    """Send a webhook of a job again, under its old id.

    Example: headrace webhooks redeliver a01hxyz…
    """
    sent = Client.of_folder(data_dir).post(f"/v1/jobs/{job_id}/webhook-deliveries/redeliver", {"event": event})
    if as_json:
        print_json(sent)
    else:
        say(f"{sent['webhook_id']} goes out again.")


@webhooks.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to list.")
@_options
def dead(limit: int, data_dir: Path | None, as_json: bool) -> None:
    """List the webhooks that were given up, newest first.

    Example: headrace webhooks dead
    """
    found = Client.of_folder(data_dir).pages("/v1/webhooks/dead-letters", limit, limit=min(limit, 100))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            local_time(letter["given_up_at"]),
            letter["job_id"],
            letter["event"],
            letter["webhook"],
            (letter["last_attempt"] or {}).get("error"),
        )
        for letter in found
    ]
    print_table(("given up", "job", "event", "webhook", "error"), rows, "No webhook was given up.")


@webhooks.command()
@click.argument("job_ids", metavar="[JOB]...", nargs=-1)
@_options
def replay(job_ids: tuple[str, ...], data_dir: Path | None, as_json: bool) -> None:
    """Send webhooks again that were given up: those of the named jobs, or all.

    Example: headrace webhooks replay
    """
    body = {"jobs": list(job_ids)} if job_ids else {}
    answer = Client.of_folder(data_dir).post("/v1/webhooks/dead-letters/replay", body)
    if as_json:
        print_json(answer)
    else:
        say(f"{answer['replayed']} webhooks go out again.")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _show(delivery: Delivery, as_json: bool) -> None:
    problem = delivery.problem
    if as_json:  # one line each, since more may come
        facts = {"webhook_id": delivery.id, "verified": problem is None, "problem": problem, "body": delivery.body}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    job = delivery.body if isinstance(delivery.body, dict) else {}
    about = " ".join(str(job[name]) for name in ("kind", "id", "status") if job.get(name)) or "no job"
    verdict = "the signature is right" if problem is None else f"NOT TO BE TRUSTED: {problem}"
    out.print(f"{time.strftime('%H:%M:%S')}  {delivery.id}  {about}  {verdict}", markup=False)


def _show_secret(secret: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(secret)
        return
    click.echo(secret["key"])
    for old in secret["old"]:
        say(f"Beside it an old one signs until {local_time(old['expires_at'])}.")
