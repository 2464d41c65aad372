"""``headrace models``: brings versions in, moves the names that point at them, and takes them away."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from cli.client import Client
from cli.jobs import local_time
from cli.progress import succeeded, watch
from cli.promotion import move, wait_for_move
from cli.references import SHORT_DIGITS, full_version, split_reference
from cli.terminal import (
    Commands,
    Failure,
    as_json_option,
    data_dir_option,
    print_facts,
    print_json,
    print_table,
    read_text,
    say,
    this_command,
    with_options,
)
from cli.upload_bar import upload

_options = with_options(data_dir_option, as_json_option)
_alias = click.option("--alias", default="production", show_default=True, help="Name that points at a version.")


@click.group(cls=Commands)
def models() -> None:
    """Push, list, show, promote, roll back and delete models.

    Example: headrace models push cats.keras --name me/cats --labels cat,dog
    """


@models.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="Model that gets the new version, owner/name; made if absent.")
@click.option("--labels", help="Labels of the outputs in their order, with commas between them.")
@click.option("--labels-file", type=click.File(encoding="utf-8"), help="The same, one label a line.")
@click.option("--scale", help="What pixels are multiplied by, if the model does not do it itself: 1/255.")
@click.option("--mean", help="What is subtracted after that, one number a channel: 0.485,0.456,0.406.")
@click.option("--std", help="What is divided by in the end, one number a channel.")
@click.option("--iterator", is_flag=True, help="Tell the output row by row: clients get each row as it is there.")
@click.option("--alias", help="Promote the version under this name once it is in.")
@_options
def push(
    file: Path,
    name: str,
    labels: str | None,
    labels_file: Any,
    scale: str | None,
    mean: str | None,
    std: str | None,
    iterator: bool,
    alias: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Bring in a .keras or .h5 model; it is checked in a sandbox before it becomes a version.

    Example: headrace models push cats.keras --name me/cats --labels cat,dog --scale 1/255
    """
    model, version = split_reference(name)
    if version:
        raise Failure("A version's id follows from its content; give --name as owner/name.")
    if labels_file is not None:
        # As JSON, since a label in a file may hold a comma.
        lines = read_text(labels_file.name, labels_file.read).split("\n")
        labels = json.dumps([line.strip() for line in lines if line.strip()], ensure_ascii=False)
    told = "true" if iterator else None
    options = {"labels": labels, "scale": scale, "mean": mean, "std": std, "iterator": told, "alias": alias}
    fields = {key: value for key, value in options.items() if value}
    client = Client.of_folder(data_dir)
    job = upload(client, f"/v1/models/{model}/versions", fields, file, is_quiet=as_json)
    job = succeeded(watch(client, job, "importing", is_quiet=as_json))
    output = job["output"]
    if as_json:
        if alias:
            state = client.get(f"/v1/models/{model}/aliases/{alias}")
            wait_for_move(client, model, alias, state, is_quiet=True, wanted=output["id"])
        print_json(job)
        return
    _show_version({**output, "id": output["version"]})
    if alias:
        state = client.get(f"/v1/models/{model}/aliases/{alias}")
        wait_for_move(client, model, alias, state, wanted=output["id"])
        say(f"{alias} of {model} is {output['id'][:SHORT_DIGITS]}.")
    else:
        digits = output["id"][:SHORT_DIGITS]
        say(f"`{this_command()} models promote {model} {digits}{client.option}` makes it the one that answers.")


@models.command("list")
@_options
def list_models(data_dir: Path | None, as_json: bool) -> None:
    """List every model.

    Example: headrace models list
    """
    found = Client.of_folder(data_dir).pages("/v1/models", 10_000)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            f"{model['owner']}/{model['name']}",
            (model.get("latest_version") or {}).get("id", "")[:SHORT_DIGITS],
            local_time((model.get("latest_version") or {}).get("created_at")),
            model.get("description"),
        )
        for model in found
    ]
    print_table(("model", "newest version", "created", "description"), rows, "There are no models yet.")


@models.command()
@click.argument("name")
@_options
def show(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Show a model with its versions and aliases, or one version.

    Example: headrace models show me/cats
    """
    client = Client.of_folder(data_dir)
    model, version = split_reference(name)
    if version:
        found = client.get(f"/v1/models/{model}/versions/{full_version(client, model, version)}")
        if as_json:
            print_json(found)
        else:
            _show_version(found)
        return
    versions = client.pages(f"/v1/models/{model}/versions", 10_000)
    aliases = client.get(f"/v1/models/{model}/aliases")["results"]
    if as_json:
        print_json({**client.get(f"/v1/models/{model}"), "versions": versions, "aliases": aliases})
        return
    names: dict[str, list[str]] = {}
    for alias in aliases:
        names.setdefault(alias["version"], []).append(alias["alias"])
    rows = [
        (entry["id"][:SHORT_DIGITS], local_time(entry["created_at"]), ", ".join(names.get(entry["id"], ())))
        for entry in versions
    ]
    print_table(("version", "created", "aliases"), rows, f"The model {model} has no versions yet.")


@models.command()
@click.argument("name")
@click.argument("version")
@_alias
@click.option("--reason", help="Kept in the history of the alias.")
@_options
def promote(name: str, version: str, alias: str, reason: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Make a version the one that an alias names, once the workers have loaded it.

    VERSION may be the first digits of its id.

    Example: headrace models promote me/cats 3f2a90b1c4d5 --reason "better on night photos"
    """
    client = Client.of_folder(data_dir)
    model, _ = split_reference(name)
    state = move(client, model, alias, full_version(client, model, version), reason)
    _moved(client, model, alias, state, as_json)


@models.command()
@click.argument("name")
@_alias
@_options
def rollback(name: str, alias: str, data_dir: Path | None, as_json: bool) -> None:
    """Move an alias back to the version that it named before.

    Example: headrace models rollback me/cats
    """
    client = Client.of_folder(data_dir)
    model, _ = split_reference(name)
    _moved(client, model, alias, client.post(f"/v1/models/{model}/aliases/{alias}/rollback"), as_json)


@models.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before a whole model is deleted.")
@_options
def delete(name: str, yes: bool, data_dir: Path | None, as_json: bool) -> None:
    """Delete one version (owner/name:version), or a model with all its versions.

    Example: headrace models delete me/cats:3f2a90b1c4d5
    """
    client = Client.of_folder(data_dir)
    model, version = split_reference(name)
    path = f"/v1/models/{model}"
    if version:
        path += f"/versions/{full_version(client, model, version)}"
    elif not yes:
        client.get(path)
        if not sys.stdin.isatty():
            raise Failure(f"This would delete every version of {model}; say so with --yes.")
        click.confirm(f"Delete {model} with every version of it?", abort=True, err=True)
    client.delete(path if version else f"{path}?force=true")
    if as_json:
        print_json({"deleted": name})
    else:
        say(f"{name} is deleted.")


def _moved(client: Client, model: str, alias: str, state: dict[str, Any], as_json: bool) -> None:
    state = wait_for_move(client, model, alias, state, is_quiet=as_json)
    if as_json:
        print_json(state)
    else:
        say(f"{alias} of {model} is {state['version'][:SHORT_DIGITS]}.")


def _show_version(version: dict[str, Any]) -> None:
    parameters, figures = version.get("parameters") or {}, version.get("metrics") or {}
    expected = parameters.get("expected_range")
    facts = {
        "version": version["id"],
        "model": version.get("model"),
        "created": local_time(version.get("created_at")),
        "source": version.get("source"),
        "data set": version.get("dataset"),
        "test accuracy": figures.get("accuracy"),
        "test macro F1": figures.get("macro_f1"),
        **_described(version.get("signature") or {}),
        "expected range": f"{expected[0]} to {expected[1]}" if expected else "",
        "labels": ", ".join(version.get("labels") or ()),
        "sample answer": _answer(version.get("sample")),
        "unloadable": version.get("unloadable"),
    }
    print_facts({name: f"{fact:.4f}" if isinstance(fact, float) else fact for name, fact in facts.items()})
    for warning in version.get("warnings") or ():
        say(f"Warning: {warning}")


def _answer(sample: Any) -> Any:
    """A sample answer in a few words."""
    if isinstance(sample, list) and len(sample) == 1:  # of a version that iterates
        sample = sample[0]
    if isinstance(sample, dict) and {"label", "score"} <= sample.keys():
        return f"{sample['label']}, score {sample['score']:.3f}"
    return sample


def _described(signature: dict[str, Any]) -> dict[str, str]:
    """A signature in words, a line for each input and output."""
    facts = {}
    for side in ("inputs", "outputs"):
        for spec in signature.get(side, ()):
            shape = " × ".join("any" if size is None else str(size) for size in spec["shape"]) or "one value"
            facts[f"{side[:-1]} {spec['name']}"] = f"{spec['kind']}, {shape}, {spec['dtype']}"
    return {**facts, "answers": "row by row, as a list" if signature.get("iterates") else ""}
