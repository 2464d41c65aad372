"""``headrace up``: runs the whole service on this machine until it is told to stop."""

import shlex
import threading
import time
from pathlib import Path
from types import FrameType

import click

from cli.programs import Shape
from cli.service import Service
from cli.terminal import (
    as_json_option,
    data_dir_option,
    on_stop_signals,
    print_facts,
    print_json,
    say,
    this_command,
)
from shared.settings import load_settings

_PORT = click.IntRange(0, 65_535)
_WORKERS = click.IntRange(1, 64)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=_PORT, default=8000, show_default=True, help="Port to listen on; 0 for a free one.")
@click.option("--inference-workers", type=_WORKERS, default=1, show_default=True, help="Processes that predict.")
@click.option("--training-workers", type=_WORKERS, default=1, show_default=True, help="Processes that train.")
@data_dir_option
@as_json_option
def up(
    host: str, port: int, inference_workers: int, training_workers: int, data_dir: Path | None, as_json: bool
) -> None:
    """Run everything on this machine: Redis server, API and workers.

    Where HEADRACE_REDIS__URL is set, that server is used and none is started. Ctrl-C stops everything.

    Example: headrace up --port 8080 --data-dir ./data
    """
    begun = time.monotonic()
    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    service = Service(settings, Shape(host, port, inference_workers, training_workers), say)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            service.hurry()
        stop.set()

    on_stop_signals(on_signal)
    with service:
        if service.wait_until_ready(stop.is_set):
            option = f" --data-dir {shlex.quote(str(data_dir))}" if data_dir else ""
            _announce(service, time.monotonic() - begun, option, as_json)
        stop.wait()
        say("Stopping…")
    say("Stopped.")


def _announce(service: Service, seconds: float, option: str, as_json: bool) -> None:
    folder = service.folder
    if as_json:
        print_json({"address": service.address, "api_key_file": str(folder.api_key), "data_dir": str(folder.root)})
        return
    print_facts({"address": service.address, "key": folder.api_key, "logs": folder.logs, "data": folder.root})
    command = this_command()
    say(f"Ready after {seconds:.1f} s. In another terminal:")
    say(f"  {command} datasets push photos/ --name cats{option}")
    say(f"  {command} train --dataset cats --destination me/cats{option}")
    say(f"  {command} demo    (shows all of it on handwritten digits)")
    say("Ctrl-C stops everything.")
