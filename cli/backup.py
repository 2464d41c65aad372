"""``headrace backup`` and ``headrace restore``: the whole service in one file, from Redis and the artifact store."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from cli.data_folder import DataFolder, has_own_redis, with_redis_url, without_password
from cli.embedded_redis import EmbeddedRedis
from cli.log_files import LogFiles
from cli.processes import RunFile
from cli.supervisor import Supervisor
from cli.terminal import Failure, as_json_option, data_dir_option, print_facts, print_json, say
from shared.artifacts import ArtifactStore, open_artifacts
from shared.backups.archive import Summary, read_backup, write_backup
from shared.backups.keys import KeyCopier, refuse_living
from shared.connections import open_redis, translated
from shared.errors import Unavailable
from shared.heartbeats import Heartbeats
from shared.settings import Settings, load_settings

SAY_SECONDS = 5.0
"""How often to say how far it is."""


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@data_dir_option
@as_json_option
def backup(target: Path, data_dir: Path | None, as_json: bool) -> None:
    """Write jobs, keys, models, aliases and data sets to one file, while the service runs or not.

    TARGET is the file, or a folder that gets one named by the time. It holds the secrets of the service, so only its
    owner may read it.

    Example: headrace backup /var/backups/
    """
    path = target / f"headrace-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target
    if not path.absolute().parent.is_dir():
        raise Failure(f"There is no folder {path.absolute().parent}; make it first.")
    with _reached(data_dir) as settings:
        made = write_backup(path, KeyCopier(open_redis(settings), settings), open_artifacts(settings), _progress())
    _report(made, path, as_json)
    say("The file holds keys and secrets in the clear; only its owner may read it. Keep it so.")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Delete what the service has now, instead of refusing.")
@data_dir_option
@as_json_option
def restore(file: Path, replace: bool, data_dir: Path | None, as_json: bool) -> None:
    """Bring back a backup; jobs that had not ended run once the service is started.

    The service must be stopped, and empty unless --replace is given.

    Example: headrace restore /var/backups/headrace-20260102T030405Z.tar
    """
    with _reached(data_dir, stopped=True) as settings:
        redis, store = open_redis(settings), open_artifacts(settings)
        refuse_living(Heartbeats(redis, settings).living())
        keys = KeyCopier(redis, settings)
        if not replace and (store.walk() or not keys.is_empty()):
            raise Failure("There is a service with data here; give --replace to delete it for the backup.")
        done = read_backup(file, keys, store, _progress(), before=_clearing(keys, store) if replace else None)
    _report(done, file, as_json)


def _clearing(keys: KeyCopier, store: ArtifactStore) -> Callable[[], None]:
    def clear() -> None:
        keys.clear()
        for name in sorted({path.partition("/")[0] for path in store.walk()}):
            store.delete(name)

    return clear


@contextmanager
def _reached(data_dir: Path | None, *, stopped: bool = False) -> Iterator[Settings]:
    """The settings of a service whose Redis server answers.

    It is one that the environment names, or that of a running ``up``, or the data folder's, started for as long.

    Raises:
        Failure: No server answers, or ``up`` runs on the folder and must not.
    """
    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    folder = DataFolder(settings.data_dir)
    if has_own_redis(settings):
        _ask(settings)
        yield settings
        return
    if not stopped and folder.redis_url.exists():
        running = folder.settings_here()
        try:
            _ask(running)
        except Failure:
            running = settings
        if running is not settings:
            yield running
            return
    folder.make()
    folder.lock()
    run_file = RunFile(folder.run_file)
    supervisor = Supervisor(run_file, LogFiles(folder.logs), say)
    server = EmbeddedRedis(folder, settings)
    try:
        yield with_redis_url(settings, server.start(supervisor, run_file))
    finally:
        supervisor.stop()
        server.close()
        folder.unlock()


def _ask(settings: Settings) -> None:
    try:
        with translated():
            open_redis(settings).ping()
    except Unavailable as error:
        raise Failure(
            f"No Redis server answers at {without_password(settings.redis.url)}; check HEADRACE_REDIS__URL."
        ) from error


def _progress() -> Callable[[str, int], None]:
    said = time.monotonic()

    def tell(what: str, count: int) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(f"{count} {what}…")

    return tell


def _report(made: Summary, file: Path, as_json: bool) -> None:
    facts = {"file": str(file), **{name: value for name, value in asdict(made).items() if value is not None}}
    if as_json:
        print_json(facts)
    else:
        print_facts({name.replace("_", " "): value for name, value in facts.items()})
