"""The Celery application: ``celery -A workers worker -Q predict.cpu -P solo``.

The first part of the queue's name says what kind of worker it is:

    predict.*   inference   -P solo, one process for each accelerator or share of the CPU
    train.*     training    -P prefork -c 1 --max-tasks-per-child 1, spawned children
    prepare.*   preparing   the same, with --max-tasks-per-child 20: files are loaded in children of their own
    io          io          -P threads -B

TensorFlow is imported by tasks, in the process that computes, never here.
"""

import os
import socket
import threading
from contextlib import suppress
from typing import Any

from celery import Celery, signals

from shared.errors import ServiceError
from shared.heartbeats import WorkerInfo, own_queue
from shared.jobs.bells import SWEEP_TASK, celery_config
from shared.logs import configure_logs
from shared.roles import Role
from shared.settings import load_settings
from workers.process import (
    STOP_SIGNAL,
    Process,
    open_process,
    stop_on_signal,
    stopping,
    wait_for_redis,
    worker_name,
)
from workers.scratch import clear_scratch

settings = load_settings()
app = Celery(
    "workers",
    include=[f"workers.tasks.{name}" for name in ("predict", "load_version", "train", "prepare", "sweep", "outgoing")],
)
app.conf.update(celery_config(settings))
app.conf.update(
    worker_consumer="workers.consumer:PromptConsumer",
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    # A child that loads TensorFlow needs longer than the four seconds after which Celery would kill it.
    worker_proc_alive_timeout=600,
    # CUDA does not survive a fork, TensorFlow neither once it has run.
    worker_pool_start_method="spawn",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "sweep": {
            "task": SWEEP_TASK,
            "schedule": settings.queue.sweep_seconds,
            "options": {"queue": "io", "expires": 5 * settings.queue.sweep_seconds},
        }
    },
)

_process: Process | None = None
_process_lock = threading.Lock()
_pool: Any = None


def current_process() -> Process:
    """The connections of this process, opened at the first call."""
    global _process
    with _process_lock:
        if _process is None:
            _process = open_process(settings)
        return _process


@signals.setup_logging.connect
def _logs(**_: object) -> None:
    configure_logs(settings)


@signals.celeryd_after_setup.connect
def _before_start(sender: str, instance: Any, **_: object) -> None:
    """Lets an inference worker be asked by name to load a version, and any worker wait for Redis.

    Workers of long jobs clear away first what one that was killed has left.
    """
    role = role_of(instance.app)
    if role in (Role.TRAIN, Role.PREPARE):
        clear_scratch(settings)
    if role is Role.PREDICT:
        queue = own_queue(worker_name(settings))
        instance.app.amqp.queues.select_add(queue, exchange=queue, routing_key=queue)
    wait_for_redis(settings)


@signals.worker_process_init.connect
def _child_started(**_: object) -> None:
    configure_logs(settings)
    if threading.current_thread() is threading.main_thread():
        stop_on_signal()


@signals.worker_ready.connect
def _ready(sender: Any, **_: object) -> None:
    """Begins the heartbeat, in the worker itself: children come and go."""
    global _pool
    _pool = sender.pool
    kind = role_of(sender.app).worker_kind
    process = current_process()

    def beat() -> None:
        while True:
            from workers.loaded import loaded_versions

            info = WorkerInfo(
                worker_name(settings), kind, settings.worker.pool, socket.gethostname(), os.getpid(), loaded_versions()
            )
            with suppress(ServiceError):
                process.heartbeats.beat(info)
            if stopping.wait(settings.worker.heartbeat_seconds):
                return

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()


@signals.worker_shutting_down.connect
def _shutting_down(**_: object) -> None:
    """Tells the computation under way, here or in a spawned child, to come to an end."""
    stopping.set()
    children = getattr(getattr(_pool, "_pool", None), "_pool", None) or ()
    for child in children:
        try:
            os.kill(child.pid, STOP_SIGNAL)
        except (ProcessLookupError, TypeError, AttributeError):
            continue


@signals.worker_shutdown.connect
def _shut_down(**_: object) -> None:
    process = current_process()
    try:
        process.claims.release_all()
        process.heartbeats.leave(worker_name(settings))
    except ServiceError:
        return


def role_of(celery: Celery) -> Role:
    """What sort of worker this is, by the queues that it was told to consume."""
    for name in celery.amqp.queues.consume_from:
        role = Role.of_queue(str(name))
        if role is not None:
            return role
    raise SystemExit("Name the worker's queue with -Q: predict.cpu, train.cpu, prepare.cpu or io.")
