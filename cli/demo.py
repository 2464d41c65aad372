"""``headrace demo``: the life of a model in about a minute, on real images, through the same doors as everybody's."""

import shlex
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from cli.client import TERMINAL, Client, Job
from cli.demo_webhook import show_webhook
from cli.digits import Digits, draw, hold_out, picture_width, read_digits
from cli.in_flight import in_flight
from cli.programs import Shape
from cli.progress import succeeded, watch
from cli.promotion import move, wait_for_move
from cli.service import Service, choose_port
from cli.stages import Stages
from cli.terminal import Failure, Interrupted, as_json_option, err, on_stop_signals, out, print_json, say, this_command
from cli.train import RECIPE, start_training
from shared.settings import ArtifactsSettings, ClientSettings, HttpSettings, RedisSettings, Settings, load_settings

DATASET = "digits"
MODEL = "demo/digits"
HELD_OUT = 1000
EPOCHS = 5
SAMPLES = 20
DRAWN = 5
AT_ONCE = 64
LEAST = 0.93
"""Test accuracy and macro F1 that the training is known to reach."""

LIMIT_SECONDS = 108.0
"""When the demo gives up; with the stop that follows, it is over within two minutes."""
HURRY_SECONDS = 4.0
"""How long that stop may take until what it waits for is killed."""


class _TooLate(BaseException):
    """Raised at the limit, wherever the demo is: nothing on the way takes it for an error of its own."""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything that the demo leaves [default: ~/.local/share/headrace-demo].",
)
@as_json_option
def demo(data_dir: Path | None, as_json: bool) -> None:
    """Show everything once: start, push a data set, train, promote, predict, get a webhook, cancel, stop.

    It takes about a minute, works in a data folder of its own and leaves no process behind.

    Example: headrace demo
    """
    stages = Stages(as_json)
    service = Service(_own_settings(data_dir), Shape(port=0), say)
    try:
        with _stopping(service), _in_time(service, stages), service:
            _show_all(service, stages)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted("Stopped before its end, with everything that it had started.") from None
    except _TooLate as late:
        raise Failure(str(late)) from None
    stages.done("stop", "Everything is stopped")
    stages.figures["seconds"]["total"] = round(stages.total(), 2)
    if as_json:
        print_json(stages.figures)
    else:
        _suggest(service.folder.root)


def _show_all(service: Service, stages: Stages) -> None:
    service.wait_until_ready()
    stages.done("start", f"Redis server, API and workers run at {service.address}")
    certificate = service.settings.http.tls_certificate
    client = Client(service.address, service.folder.api_key.read_text().strip(), certificate=certificate)
    _cancel_left_overs(client)
    training, unseen = hold_out(read_digits(), HELD_OUT)
    _push(client, stages, service.folder.root, training)
    version = _train(client, stages)
    wait_for_move(client, MODEL, "production", move(client, MODEL, "production", version), stages.is_quiet)
    stages.done("promote", f"{MODEL} answers with this version; the worker has it loaded and warm")
    answers = _predict(client, stages, unseen)
    if not stages.is_quiet:
        _show(unseen, answers)
    show_webhook(client, stages, MODEL, unseen.png(0))
    _cancel(client, stages)
    _save_samples(service.folder.root / "samples", unseen)
    client.close()


def _own_settings(data_dir: Path | None) -> Settings:
    """The settings with nothing that leads out of the demo's own folder."""
    root = data_dir or load_settings().data_dir.expanduser().with_name("headrace-demo")
    return load_settings(
        data_dir=root,
        redis=RedisSettings.model_validate({}),
        artifacts=ArtifactsSettings(),
        http=HttpSettings(),
        client=ClientSettings(),
    )


@contextmanager
def _stopping(service: Service) -> Iterator[None]:
    """Lets the first signal end the demo in good order, and a second one hurry that."""
    signaled = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signaled
        if signaled or service.is_stopping:
            service.hurry()
        else:
            signaled = True
            raise KeyboardInterrupt

    on_stop_signals(on_signal)
    yield


@contextmanager
def _in_time(service: Service, stages: Stages) -> Iterator[None]:
    """Ends what is inside at the limit, and kills what keeps a service from its stop then."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        if service.is_stopping:
            service.hurry()
        else:
            raise _TooLate(_too_late(stages, service.folder.logs))

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS, HURRY_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_late(stages: Stages, logs: Path) -> str:
    stage, seconds, is_over = stages.slowest()
    return (
        f"The demo was not over after {LIMIT_SECONDS:.0f} s and everything is stopped; the slowest stage was "
        f"'{stage}' with {seconds:.0f} s{'' if is_over else ' and no end'}: try again while this machine is idle, or "
        f"look for the reason in {logs}."
    )


def _cancel_left_overs(client: Client) -> None:
    """Cancels trainings of an interrupted demo, which this one would have to wait for."""
    for status in ("starting", "processing"):
        for job in client.pages("/v1/jobs", 100, kind="training", status=status):
            if (job.get("details") or {}).get("destination") == MODEL:
                client.post(f"/v1/jobs/{job['id']}/cancel")


def _push(client: Client, stages: Stages, folder: Path, digits: Digits) -> None:
    file = folder / "digits.npz"
    digits.save(file)
    job = client.upload("/v1/datasets", {"name": DATASET}, file)
    file.unlink()
    report = succeeded(watch(client, job, "preparing the data set", is_quiet=stages.is_quiet))["output"]
    splits = report["splits"]
    stages.figures["dataset"] = {"digest": report["digest"], "splits": splits, "held_out": HELD_OUT}
    stages.done(
        "dataset",
        f"{len(digits):,} handwritten digits are a data set: "
        + ", ".join(f"{count:,} for {split}" for split, count in splits.items())
        + f"; {HELD_OUT:,} more are kept from it",
    )


def _train(client: Client, stages: Stages) -> str:
    job = start_training(client, RECIPE, MODEL, {"dataset": DATASET, "epochs": EPOCHS, "seed": 1})
    job = succeeded(watch(client, job, "training", is_quiet=stages.is_quiet))
    figures = job["output"]["metrics"]
    accuracy, f1 = figures["accuracy"], figures["macro_f1"]
    version = str(job["output"]["version"])
    stages.figures["training"] = {"version": version, "epochs": EPOCHS, "accuracy": accuracy, "macro_f1": f1}
    stages.done(
        "train",
        f"{EPOCHS} epochs of a convolutional network: test accuracy {accuracy:.3f}, macro F1 {f1:.3f} "
        f"(version {version.partition(':')[2][:12]})",
    )
    if min(accuracy, f1) < LEAST:
        raise Failure(f"The network has learnt less than it should: {LEAST} is expected; please report this.")
    return version.partition(":")[2]


def _predict(client: Client, stages: Stages, digits: Digits) -> dict[int, Job]:
    images = [digits.png(index) for index in range(len(digits))]

    def ask(index: int) -> Job:
        job = client.create_job(
            f"/v1/models/{MODEL}/predictions", content=images[index], content_type="image/png", wait_seconds=30
        )
        return client.await_end(job)

    begun = time.monotonic()
    answers = dict(in_flight(ask, range(len(digits)), AT_ONCE))
    seconds = time.monotonic() - begun
    for job in answers.values():
        succeeded(job)
    times = sorted(float(job["metrics"]["total_time"]) * 1000 for job in answers.values())
    batches = [int(job["metrics"]["batch_rows"]) for job in answers.values()]
    right = sum(job["output"]["label"] == str(digits.labels[index]) for index, job in answers.items())
    mean = len(batches) / sum(1 / rows for rows in batches)
    figures = {
        "jobs": len(answers),
        "right": right,
        "seconds": round(seconds, 3),
        "jobs_per_second": round(len(answers) / seconds, 1),
        "batch_rows": {"mean": round(mean, 1), "largest": max(batches)},
        "total_time_ms": {"p50": round(_percentile(times, 50), 1), "p99": round(_percentile(times, 99), 1)},
    }
    stages.figures["predictions"] = figures
    stages.done(
        "predict",
        f"{len(answers):,} images that it has never seen, one job each: {right} right, "
        f"{figures['jobs_per_second']:.0f} jobs/s in batches of {mean:.0f} (largest {max(batches)}), "
        f"p50 {_percentile(times, 50):.0f} ms, p99 {_percentile(times, 99):.0f} ms",
    )
    return answers


def _percentile(ascending: Sequence[float], percent: int) -> float:
    return statistics.quantiles(ascending, n=100, method="inclusive")[percent - 1]


def _show(digits: Digits, answers: dict[int, Job]) -> None:
    """Draws a few images with their answers, a wrong one among them if there is one."""
    count = max(1, min(DRAWN, out.width // picture_width()))
    wrong = [index for index, job in answers.items() if job["output"]["label"] != str(digits.labels[index])]
    chosen = [*[index for index in range(len(digits)) if index not in wrong][: count - len(wrong[:1])], *wrong[:1]]
    out.print()
    out.print(draw([digits.images[index] for index in chosen], has_colors=out.color_system is not None))
    captions = []
    for index in chosen:
        output = answers[index]["output"]
        mark = "" if index not in wrong[:1] else f" (is {digits.labels[index]})"
        captions.append(f"{output['label']}{mark}  {output['score']:.2f}".ljust(picture_width()))
    out.print("".join(captions).rstrip() + "\n", markup=False)


def _cancel(client: Client, stages: Stages) -> None:
    job = start_training(client, RECIPE, MODEL, {"dataset": DATASET, "epochs": 1000})
    while job["status"] == "starting":
        client.pause(0.1)
        job = client.get(f"/v1/jobs/{job['id']}")
    if job["status"] in TERMINAL:
        raise Failure(f"The second training should still run, but it has {job['status']}.")
    begun = time.monotonic()
    client.post(f"/v1/jobs/{job['id']}/cancel")
    job = client.await_end(job, step_seconds=1)
    seconds = time.monotonic() - begun
    stages.figures["canceled"] = {"id": job["id"], "status": job["status"], "seconds": round(seconds, 3)}
    if job["status"] != "canceled":
        raise Failure(f"The second training was to be canceled, but it has {job['status']}.")
    stages.done("cancel", f"A second training was processing; canceled within {seconds * 1000:.0f} ms")


def _save_samples(folder: Path, digits: Digits) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(SAMPLES):
        (folder / f"{index:02}-is-{digits.labels[index]}.png").write_bytes(digits.png(index))


def _suggest(folder: Path) -> None:
    command, where = this_command(), shlex.quote(str(folder))
    try:
        port = f" --port {choose_port('127.0.0.1', 8000)}"
    except Failure:
        port = " --port 0"
    port = "" if port == " --port 8000" else port
    err.print("\nThe model is kept. To go on with it, start the service again:")
    say(f"  {command} up --data-dir {where}{port}")
    err.print("and in another terminal:")
    say(f"  {command} predict {shlex.quote(str(folder / 'samples'))} --model {MODEL} --data-dir {where}")
    say(f"  {command} models show {MODEL} --data-dir {where}")
    say(f"  {command} train --dataset {DATASET} --destination {MODEL} --epochs 8 --data-dir {where}")
    say(f"  {command} jobs list --kind training --data-dir {where}")
