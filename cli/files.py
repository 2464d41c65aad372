"""``headrace files``: uploads files that inputs may then name, lists, fetches and deletes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli.client import Client
from cli.downloads import save
from cli.jobs import local_time
from cli.terminal import (
    Commands,
    Failure,
    as_json_option,
    data_dir_option,
    print_facts,
    print_json,
    print_table,
    say,
    with_options,
)
from cli.upload_bar import upload

_options = with_options(data_dir_option, as_json_option)
_id = click.argument("file_id", metavar="ID")


@click.group(cls=Commands)
def files() -> None:
    """Upload files, whose URLs may then stand in inputs; list, show, download and delete them.

    Example: headrace files push cat.png
    """


@files.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_options
def push(paths: Sequence[Path], data_dir: Path | None, as_json: bool) -> None:
    """Upload files; each is answered with the URL that may stand in an input.

    Example: headrace files push cat.png dog.png
    """
    client = Client.of_folder(data_dir)
    made = [upload(client, "/v1/files", {}, path, is_quiet=as_json, part="content") for path in paths]
    if as_json:
        print_json(made)
    else:
        print_table(("id", "name", "url"), [(file["id"], file["name"], file["urls"]["get"]) for file in made], "")


@files.command("list")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Most files to list.")
@_options
def list_files(limit: int, data_dir: Path | None, as_json: bool) -> None:
    """List the newest files.

    Example: headrace files list
    """
    found = Client.of_folder(data_dir).pages("/v1/files", limit, limit=min(limit, 100))
    if as_json:
        print_json(found)
        return
    rows = [
        (file["id"], file["name"], file["content_type"], file["size"], local_time(file["expires_at"])) for file in found
    ]
    print_table(("id", "name", "type", "bytes", "expires"), rows, "There are no files.")


@files.command()
@_id
@_options
def show(file_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Show one file, with a link that downloads it without a key.

    Example: headrace files show a01hxyz…
    """
    file = Client.of_folder(data_dir).get(f"/v1/files/{file_id}")
    if as_json:
        print_json(file)
        return
    facts: dict[str, Any] = {name: file[name] for name in ("id", "name", "content_type", "size")}
    print_facts(
        {
            **facts,
            "sha256": file["checksums"]["sha256"],
            "metadata": file["metadata"] or None,
            "created": local_time(file["created_at"]),
            "expires": local_time(file["expires_at"]),
            "url": file["urls"]["get"],
            "download": file["urls"]["download"],
        }
    )


@files.command()
@_id
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to [default: the file's name].")
@_options
def download(file_id: str, out: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Download one file; nothing that exists is replaced unless --out names it.

    Example: headrace files download a01hxyz… --out cat.png
    """
    client = Client.of_folder(data_dir)
    file = client.get(f"/v1/files/{file_id}")
    target = out or Path(Path(file["name"]).name or file_id)
    if out is None and target.exists():
        raise Failure(f"{target} exists; name another file with --out.")
    save(client, file["urls"]["download"], target, file["checksums"]["sha256"])
    if as_json:
        print_json({**file, "path": str(target)})
    else:
        say(f"{target} has {file['size']} bytes.")


@files.command()
@_id
@_options
def delete(file_id: str, data_dir: Path | None, as_json: bool) -> None:
    """Delete one file; jobs that name it and have not been computed will fail.

    Example: headrace files delete a01hxyz…
    """
    Client.of_folder(data_dir).delete(f"/v1/files/{file_id}")
    if as_json:
        print_json({"deleted": file_id})
    else:
        say(f"The file {file_id} is deleted.")
