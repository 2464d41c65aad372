"""``headrace doctor``: looks at everything the service stands on and says what to do."""

import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
import requests

from cli.data_folder import DataFolder, without_password
from cli.redis_check import OLDEST_REDIS, OLDEST_VALKEY, read_facts
from cli.terminal import Failure, as_json_option, data_dir_option, out, print_json
from shared.artifacts import open_artifacts
from shared.connections import Redis, open_redis, translated
from shared.errors import ServiceError
from shared.heartbeats import Heartbeats
from shared.http_client import tls_context
from shared.roles import Role
from shared.settings import Settings, load_settings

LEAST_FREE_BYTES = 1 << 30
FEW_FREE_BYTES = 10 << 30
SLOW_PING_MS = 5.0
CLOCK_SECONDS = 2.0
IMPORT_SECONDS = 180
_MARKS = {"good": "[green]ok[/green]  ", "poor": "[yellow]poor[/yellow]", "bad": "[red]bad[/red] "}

_TENSORFLOW = (
    "import tensorflow as tf; "
    "print(tf.__version__, ', '.join(d.device_type for d in tf.config.list_physical_devices()), sep='|')"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has found."""

    name: str
    state: Literal["good", "poor", "bad"]
    fact: str
    advice: str = ""


@click.command()
@click.option("--skip-tensorflow", is_flag=True, help="Do not import TensorFlow, which takes seconds.")
@data_dir_option
@as_json_option
def doctor(skip_tensorflow: bool, data_dir: Path | None, as_json: bool) -> None:
    """Check Redis, disk, stores, outgoing requests, TensorFlow, clocks and workers; the exit status is 1 if one is bad.

    Example: headrace doctor --data-dir ./data
    """
    folder = DataFolder(load_settings(**({"data_dir": data_dir} if data_dir else {})).data_dir)
    settings = folder.settings_here()
    looks: list[Callable[[], Iterator[Finding]]] = [
        lambda: look_at_redis(settings, open_redis(settings)),
        lambda: look_at_disk(folder),
        lambda: look_at_artifacts(settings, folder),
        lambda: look_at_api(settings, folder),
        lambda: look_at_outgoing(settings),
    ]
    if not skip_tensorflow:
        looks.append(lambda: look_at_tensorflow(settings))
    findings = []
    for look in looks:
        for finding in look():
            findings.append(finding)
            if not as_json:
                out.print(f"{_MARKS[finding.state]}  {finding.name:<15}", end="")
                out.print(f"{finding.fact}{f'. {finding.advice}' if finding.advice else ''}", markup=False)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "bad" for finding in findings):
        raise SystemExit(1)


def look_at_redis(settings: Settings, redis: Redis) -> Iterator[Finding]:
    """The server, its settings, its speed and its clock, and who works on it."""
    url = without_password(settings.redis.url)
    try:
        facts = read_facts(redis)
    except ServiceError:
        advice = "Start one with `headrace up`, or set HEADRACE_REDIS__URL"
        yield Finding("redis", "bad", f"does not answer at {url}", advice)
        return
    if facts.is_old:
        advice = f"Use Redis {OLDEST_REDIS} or Valkey {OLDEST_VALKEY}, or newer"
        yield Finding("redis", "bad", f"{facts.name} at {url}", advice)
    else:
        yield Finding("redis", "good", f"{facts.name} at {url}")
    if facts.policy is None:
        yield Finding("eviction", "poor", "unknown", "Make sure that its maxmemory-policy is noeviction")
    elif facts.policy != "noeviction":
        yield Finding("eviction", "bad", facts.policy, "Set maxmemory-policy to noeviction, or jobs get lost")
    else:
        yield Finding("eviction", "good", "noeviction")
    if facts.is_durable is False:
        yield Finding("durability", "poor", "no append-only file", "Set appendonly to yes, or a restart loses jobs")
    elif facts.is_durable:
        yield Finding("durability", "good", f"append-only file, fsync {facts.append_fsync or 'unknown'}")
    if facts.max_bytes and facts.used_bytes is not None:
        state: Literal["good", "poor"] = "poor" if facts.used_bytes > 0.8 * facts.max_bytes else "good"
        advice = "Give it more memory, or keep jobs for less long" if state == "poor" else ""
        yield Finding("memory", state, f"{_bytes(facts.used_bytes)} of {_bytes(facts.max_bytes)}", advice)
    yield from _time_redis(redis)
    workers = Heartbeats(redis, settings).living()
    names = ", ".join(worker.name for worker in workers)
    advice = "" if workers else "Start them with `headrace up`; jobs wait until then"
    if workers and not any(worker.kind == Role.IO.worker_kind for worker in workers):
        advice = "Start an io worker (-Q io -P threads -B): webhooks and inputs that are URLs wait until then"
    yield Finding("workers", "poor" if advice else "good", names or "none lives", advice)


def look_at_outgoing(settings: Settings) -> Iterator[Finding]:
    """Where webhooks and inputs that are URLs may lead, and whether servers there can be verified."""
    try:
        tls_context(settings)
    except ServiceError as error:
        yield Finding("outgoing", "bad", str(error).rstrip("."), "Set HEADRACE_OUTGOING__CA_FILE to a PEM file")
        return
    networks = settings.outgoing.allowed_networks
    fact = " and ".join(["the public internet", *networks])
    if any(network.endswith("/0") for network in networks):
        advice = "Every key reaches this machine and its network; name only the networks that are meant"
        yield Finding("outgoing", "poor", fact, advice)
    else:
        yield Finding("outgoing", "good", fact)


def look_at_disk(folder: DataFolder) -> Iterator[Finding]:
    """Room in the data folder."""
    place = next(path for path in (folder.root, *folder.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    fact = f"{_bytes(free)} free on {folder.root}"
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", "bad", fact, "Make room, or move the folder with --data-dir")
    elif free < FEW_FREE_BYTES:
        yield Finding("disk", "poor", fact, "Data sets and checkpoints may need more")
    else:
        yield Finding("disk", "good", fact)


def look_at_artifacts(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    """Whether the artifact store takes, gives back and deletes an object."""
    url = settings.artifacts_url
    path, content = f"doctor/{uuid.uuid4().hex}", b"written by headrace doctor"
    try:
        if not settings.artifacts.url:
            folder.make_store()
        store = open_artifacts(settings)
        store.write(path, content)
        is_same = store.read(path) == content
        store.delete(path)
    except (ServiceError, Failure, OSError, ValueError, ImportError) as error:
        detail = error.detail if isinstance(error, ServiceError) else str(error)
        yield Finding("artifacts", "bad", f"{url}: {detail}", "Check HEADRACE_ARTIFACTS__URL and its permissions")
        return
    if is_same:
        yield Finding("artifacts", "good", f"{url} can be written")
    else:
        yield Finding("artifacts", "bad", f"{url} gives back other bytes than it took", "Use another store")


def look_at_api(settings: Settings, folder: DataFolder) -> Iterator[Finding]:
    """Whether the API answers where the command looks for it."""
    url = settings.client.url or (folder.address.read_text().strip() if folder.address.exists() else "")
    if not url:
        yield Finding("api", "poor", f"none runs on {folder.root}", "Start it with `headrace up`")
        return
    try:
        reply = requests.get(f"{url.rstrip('/').removesuffix('/v1')}/readyz", timeout=5)
    except requests.RequestException:
        yield Finding("api", "bad", f"does not answer at {url}", "Start it with `headrace up`")
        return
    if reply.ok:
        yield Finding("api", "good", f"is ready at {url}")
    else:
        yield Finding("api", "bad", f"answers {reply.status_code} at {url}", f"See its log in {folder.logs}")


def look_at_tensorflow(settings: Settings) -> Iterator[Finding]:
    """Whether TensorFlow can be imported, in a process of its own, and what it sees."""
    try:
        run = subprocess.run(
            (sys.executable, "-P", "-c", _TENSORFLOW), capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        yield Finding("tensorflow", "bad", f"not imported within {IMPORT_SECONDS} s", "Install it again")
        return
    if run.returncode == 0:
        version, _, devices = run.stdout.strip().rpartition("\n")[2].partition("|")
        missing_gpu = settings.worker.pool == "gpu" and "GPU" not in devices
        advice = 'Install "headrace[gpu]" and the driver; the pool is named gpu' if missing_gpu else ""
        yield Finding("tensorflow", "poor" if missing_gpu else "good", f"{version} sees {devices}", advice)
        return
    reason = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1][:300]
    if "No module named 'tensorflow'" in reason:
        advice = 'A machine with workers needs it: pip install "headrace[worker]"'
        yield Finding("tensorflow", "poor", "is not installed", advice)
    else:
        yield Finding("tensorflow", "bad", reason, 'Install it again: pip install --force-reinstall "headrace[worker]"')


def _time_redis(redis: Redis) -> Iterator[Finding]:
    times, offsets = [], []
    for _ in range(20):
        before = time.time()
        with translated():
            seconds, microseconds = redis.time()
        after = time.time()
        times.append((after - before) * 1000)
        offsets.append(seconds + microseconds / 1e6 - (before + after) / 2)
    ping, offset = statistics.median(times), statistics.median(offsets)
    slow = "Put workers and Redis into one network" if ping > SLOW_PING_MS else ""
    yield Finding("latency", "poor" if slow else "good", f"{ping:.2f} ms", slow)
    late = "Let both machines set their clocks by NTP" if abs(offset) > CLOCK_SECONDS else ""
    yield Finding("clocks", "bad" if late else "good", f"Redis is {offset:+.3f} s from here", late)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
