"""The ``headrace`` command and what it is made of."""

import importlib.metadata

import click

from cli.backup import backup, restore
from cli.datasets import datasets
from cli.demo import demo
from cli.doctor import doctor
from cli.files import files
from cli.jobs import jobs
from cli.keys import keys
from cli.models import models
from cli.predict import predict
from cli.terminal import Commands
from cli.train import train
from cli.up import up
from cli.webhooks import webhooks


def _version() -> str:
    try:
        return importlib.metadata.version("headrace")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(_version(), prog_name="headrace")
def headrace() -> None:
    """Train models, serve them through a durable queue, and look after both.

    `headrace demo` shows everything in about a minute; `headrace up` starts the service on this machine. The other
    commands speak to the server of the data folder, or to HEADRACE_CLIENT__URL with HEADRACE_CLIENT__API_KEY.
    """


for _command in (up, demo, predict, train, jobs, models, datasets, files, webhooks, keys, backup, restore, doctor):
    headrace.add_command(_command)


def main() -> None:
    """The entry point."""
    headrace(prog_name="headrace")


if __name__ == "__main__":
    main()
