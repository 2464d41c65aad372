"""``headrace train``: trains a recipe on a data set and shows how it goes."""

import json
from pathlib import Path
from typing import Any

import click

from cli.client import Client, Job
from cli.progress import succeeded, watch
from cli.terminal import (
    Failure,
    as_json_option,
    data_dir_option,
    print_facts,
    print_json,
    say,
    this_command,
    with_options,
)

RECIPE = "headrace/image-classifier"


@click.command()
@click.option("--dataset", required=True, help="Name or digest of the data set.")
@click.option("--destination", required=True, help="Model that gets the new version, owner/name; made if absent.")
@click.option("--recipe", default=RECIPE, show_default=True, help="What is trained.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training images.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images in one step.")
@click.option("--image-size", type=click.IntRange(min=1), help="Edge that images are resized to.")
@click.option("--optimizer", help="sgd, adam or adamw.")
@click.option("--learning-rate", type=float, help="Step width of the optimizer.")
@click.option("--seed", type=int, help="Makes the training repeatable.")
@click.option("--set", "others", multiple=True, metavar="NAME=VALUE", help="Any other parameter of the recipe.")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@with_options(data_dir_option, as_json_option)
def train(
    dataset: str,
    destination: str,
    recipe: str,
    others: tuple[str, ...],
    detach: bool,
    data_dir: Path | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train a model on a data set; Ctrl-C leaves the training running.

    Example: headrace train --dataset cats --destination me/cats --epochs 10
    """
    chosen = {name: value for name, value in parameters.items() if value is not None}
    chosen |= dict(_parsed(text) for text in others)
    client = Client.of_folder(data_dir)
    job = start_training(client, recipe, destination, {"dataset": dataset, **chosen})
    if detach:
        if as_json:
            print_json(job)
        else:
            follow = f"{this_command()} jobs watch {job['id']}{client.option}"
            say(f"The training is {job['status']}; `{follow}` shows how it goes.")
        return
    if not as_json:
        say(f"Training {job['id']} of {destination} on {dataset}")
    job = succeeded(watch(client, job, "training", is_quiet=as_json))
    if as_json:
        print_json(job)
        return
    output = job["output"]
    figures = output.get("metrics") or {}
    version = output["version"]
    print_facts(
        {
            "version": version,
            "test accuracy": _figure(figures.get("accuracy")),
            "test macro F1": _figure(figures.get("macro_f1")),
            "seconds": _figure((job.get("metrics") or {}).get("predict_time")),
        }
    )
    model, _, version_id = version.partition(":")
    say(f"`{this_command()} models promote {model} {version_id[:12]}{client.option}` makes it the one that answers.")


def start_training(client: Client, recipe: str, destination: str, parameters: dict[str, Any]) -> Job:
    """Creates the training job."""
    model, _, version = recipe.partition(":")
    if not version:
        latest = client.get(f"/v1/models/{model}").get("latest_version")
        if latest is None:
            raise Failure(f"{model} cannot be trained: it has no version.")
        version = latest["id"]
    return client.create_job(
        f"/v1/models/{model}/versions/{version}/trainings", {"destination": destination, "input": parameters}
    )


def _parsed(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set wants NAME=VALUE, unlike {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _figure(value: Any) -> str | None:
    return f"{value:.4f}" if isinstance(value, int | float) else None
