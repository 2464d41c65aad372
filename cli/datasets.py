"""``headrace datasets``: brings labelled examples in, lists and deletes them."""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.client import Client
from cli.progress import succeeded, watch
from cli.references import SHORT_DIGITS
from cli.terminal import (
    Commands,
    Failure,
    as_json_option,
    data_dir_option,
    err,
    print_facts,
    print_json,
    print_table,
    say,
    this_command,
    with_options,
)
from cli.upload_bar import upload

SHOWN_LEFT_OUT = 20

_options = with_options(data_dir_option, as_json_option)


@click.group(cls=Commands)
def datasets() -> None:
    """Push, list, show and delete data sets.

    Example: headrace datasets push photos/ --name cats
    """


@datasets.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="DIR|ZIP|NPZ")
@click.option("--name", required=True, help="Name of the data set.")
@click.option("--seed", type=int, help="Decides which examples are for training, validation and test.")
@click.option("--splits", help="Shares of the three, as train,validation,test [default: 0.8,0.1,0.1].")
@_options
def push(source: Path, name: str, seed: int | None, splits: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Make a data set of a folder with one folder of images a class, of its zip, or of arrays x and y.

    Example: headrace datasets push photos/ --name cats --splits 0.7,0.15,0.15
    """
    fields = {"name": name}
    if seed is not None:
        fields["seed"] = str(seed)
    if splits is not None:
        fields["splits"] = json.dumps(_shares(splits))
    client = Client.of_folder(data_dir)
    with _packed(source, is_quiet=as_json) as file:
        job = upload(client, "/v1/datasets", fields, file, is_quiet=as_json)
    job = succeeded(watch(client, job, "preparing the data set", is_quiet=as_json))
    if as_json:
        print_json(job)
        return
    _show(job["output"])
    say(f"`{this_command()} train --dataset {name} --destination me/{name}{client.option}` trains a model on it.")


@datasets.command("list")
@_options
def list_datasets(data_dir: Path | None, as_json: bool) -> None:
    """List every data set.

    Example: headrace datasets list
    """
    found = Client.of_folder(data_dir).pages("/v1/datasets", 10_000)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            entry.get("name"),
            str(entry.get("digest", ""))[:SHORT_DIGITS],
            sum((entry.get("splits") or {}).values()),
            len(entry.get("classes") or ()),
            entry.get("unreadable_count"),
        )
        for entry in found
    ]
    print_table(("name", "digest", "examples", "classes", "unreadable"), rows, "There are no data sets yet.")


@datasets.command()
@click.argument("name")
@_options
def show(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Show one data set, by name or digest.

    Example: headrace datasets show cats
    """
    found = Client.of_folder(data_dir).get(f"/v1/datasets/{name}")
    if as_json:
        print_json(found)
    else:
        _show(found)


@datasets.command()
@click.argument("name")
@_options
def delete(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Delete one data set, by name or digest; models that were trained on it stay.

    Example: headrace datasets delete cats
    """
    Client.of_folder(data_dir).delete(f"/v1/datasets/{name}")
    if as_json:
        print_json({"deleted": name})
    else:
        say(f"The data set {name} is deleted.")


def _show(report: dict[str, Any]) -> None:
    splits = ", ".join(f"{split} {count}" for split, count in (report.get("splits") or {}).items())
    shape = report.get("image_shape")
    facts = {"name": report.get("name"), "digest": report.get("digest"), "examples": splits}
    print_facts({**facts, "images": " × ".join(map(str, shape)) if shape else "of several sizes"})
    print_table(("class", "examples"), list((report.get("classes") or {}).items()), "")
    _say_left_out([(entry["file"], entry["reason"]) for entry in report.get("unreadable") or ()])


def _say_left_out(files: Sequence[tuple[str, str]]) -> None:
    for file, reason in files[:SHOWN_LEFT_OUT]:
        say(f"Left out: {file}: {reason}")
    if len(files) > SHOWN_LEFT_OUT:
        say(f"… and {len(files) - SHOWN_LEFT_OUT} more files left out")


def _why_unfit(name: str) -> str | None:
    """Why a file of this name would have the service refuse the whole archive; ``None`` where it would not."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "its name has control characters"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "its name is no UTF-8 text"
    if "\\" in name or (name[1:2] == ":" and name[0].isalpha()):
        return "its name would be another place in an archive"
    return None


def _shares(text: str) -> dict[str, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--splits wants three numbers such as 0.8,0.1,0.1, unlike {text!r}.") from None
    return {"train": train, "validation": validation, "test": test}


@contextmanager
def _packed(source: Path, is_quiet: bool) -> Iterator[Path]:
    """The file to send: the source itself, or a temporary archive of a folder."""
    if source.is_file():
        if source.suffix.lower() not in (".zip", ".npz"):
            raise Failure(f"{source} is neither a folder, nor a .zip, nor a .npz file.")
        yield source
        return
    files = sorted(
        path
        for path in source.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    unfit = {path: reason for path in files if (reason := _why_unfit(path.relative_to(source).as_posix()))}
    _say_left_out([(repr(path.relative_to(source).as_posix()), reason) for path, reason in unfit.items()])
    files = [path for path in files if path not in unfit]
    if not files:
        raise Failure(f"The folder {source} holds no files; put the images of each class into a folder of its name.")
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        archive = Path(folder) / "images.zip"
        bar = Progress(
            TextColumn("packing"),
            BarColumn(),
            MofNCompleteColumn(),
            console=err,
            transient=True,
            disable=is_quiet or not err.is_terminal,
        )
        # Stored, not deflated: images are compressed already.
        with bar, zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as pack:
            for path in bar.track(files):
                pack.write(path, path.relative_to(source).as_posix())
        yield archive
