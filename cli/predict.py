"""``headrace predict``: asks a model about files, many at once, and can go on where it was interrupted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.answers import Answer, AnswerFile
from cli.client import Client, RequestRefused
from cli.downloads import with_output
from cli.in_flight import in_flight
from cli.inputs import BadFile, Target, find_files
from cli.terminal import (
    Failure,
    Interrupted,
    as_json_option,
    data_dir_option,
    err,
    print_json,
    print_table,
    say,
    with_options,
)
from shared.jobs.job import WEIGHTS

IN_FLIGHT = 32
WAIT_SECONDS = 30
"""How long the server may hold one answer before it is asked again."""
SHOWN_FAILURES = 20


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR...")
@click.option("--model", required=True, help="Model that answers: owner/name, or owner/name:version.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="CSV file for the answers.")
@click.option("--top-k", type=click.IntRange(min=1), help="Keep only the best K labels of each answer.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Give no label where the best score is lower.")
@click.option("--priority", type=click.Choice(list(WEIGHTS)), help="Share of the queue.")
@click.option("--in-flight", "most", type=click.IntRange(1, 128), default=IN_FLIGHT, show_default=True, help="At once.")
@with_options(data_dir_option, as_json_option)
def predict(
    paths: Sequence[Path],
    model: str,
    out: Path | None,
    top_k: int | None,
    threshold: float | None,
    priority: str | None,
    most: int,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Ask a model about images (or .txt and .json files), one prediction each.

    With --out, the same command goes on after an interruption and tries only what has no answer yet. The exit status
    is 1 if any file has none in the end.

    Example: headrace predict photos/ --model me/cats --out answers.csv
    """
    client = Client.of_folder(data_dir)
    chosen = {"top_k": top_k, "threshold": threshold, "priority": priority}
    target = Target.find(client, model, {name: value for name, value in chosen.items() if value is not None})
    files = find_files(paths)
    if not files:
        raise Failure("No file of a known kind is there; name images, or folders that hold some.")
    store = AnswerFile(out) if out is not None else None
    known = store.done if store is not None else set()
    open_files = [file for file in files if str(file) not in known]
    begun = time.monotonic()
    answers: list[Answer] = []

    def keep(answer: Answer) -> None:
        answers.append(answer)
        if store is not None:
            store.add(answer)

    try:
        with _bar(is_quiet=as_json or len(open_files) < 2) as bar:
            task = bar.add_task("predicting", total=len(files), completed=len(files) - len(open_files))
            for _, answer in in_flight(lambda file: ask(client, target, file), open_files, most):
                keep(answer)
                bar.advance(task)
    except KeyboardInterrupt:
        again = "; the same command goes on from there" if store is not None else ""
        raise Interrupted(f"Stopped after {len(answers)} of {len(open_files)} files{again}.") from None
    finally:
        if store is not None:
            store.close()
    _report(answers, len(files) - len(open_files), time.monotonic() - begun, out, as_json)


def ask(client: Client, target: Target, file: Path) -> Answer:
    """Asks about one file and waits for the answer.

    Raises:
        RequestRefused: The server takes no prediction at all from us.
    """
    try:
        job = target.submit(client, file, WAIT_SECONDS)
        return Answer.of_job(file, with_output(client, client.await_end(job, WAIT_SECONDS)))
    except BadFile as error:
        return Answer(str(file), error=str(error))
    except RequestRefused as error:
        if error.status in (401, 403, 404):  # not this file's fault
            raise
        return Answer(str(file), error=error.message)


def _bar(is_quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=is_quiet or not err.is_terminal,
    )


def _report(answers: Sequence[Answer], skipped: int, seconds: float, out: Path | None, as_json: bool) -> None:
    bad = sorted((answer for answer in answers if not answer.is_good), key=lambda answer: answer.file)
    good = len(answers) - len(bad)
    if as_json:
        summary: dict[str, Any] = {
            "succeeded": good,
            "failed": [{"file": answer.file, "id": answer.id, "error": answer.error} for answer in bad],
            "skipped": skipped,
            "seconds": round(seconds, 3),
        }
        if out is None:
            summary["answers"] = [
                {"file": answer.file, "id": answer.id, "output": answer.output}
                for answer in sorted(answers, key=lambda answer: answer.file)
                if answer.is_good
            ]
        print_json(summary)
    else:
        if out is None:
            rows = [
                (answer.file, answer.label if answer.score is not None else answer.output, _score(answer.score))
                for answer in sorted(answers, key=lambda answer: answer.file)
                if answer.is_good
            ]
            if rows:
                print_table(("file", "answer", "score"), rows, "")
        for answer in bad[:SHOWN_FAILURES]:
            say(f"{answer.file}: {answer.error}")
        if len(bad) > SHOWN_FAILURES:
            say(f"… and {len(bad) - SHOWN_FAILURES} more" + (f"; {out} lists them all" if out is not None else ""))
        earlier = f", {skipped} answered earlier" if skipped else ""
        where = f" → {out}" if out is not None else ""
        say(f"{good} answered, {len(bad)} failed{earlier}, in {seconds:.1f} s{where}")
    if bad:
        raise SystemExit(1)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"
