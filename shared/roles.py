"""The roles of workers: what each kind is called, which Celery queue it consumes, and the task that it runs there."""

from enum import StrEnum


class Role(StrEnum):
    """The first part of the name of a worker's Celery queue, and the task that drains it."""

    PREDICT = "predict"
    TRAIN = "train"
    PREPARE = "prepare"
    IO = "io"

    @property
    def worker_kind(self) -> str:
        """What people and heartbeats call a worker of this role."""
        return _KINDS[self]

    def queue(self, pool: str) -> str:
        """The Celery queue of this role in a pool, ``predict.cpu``; io workers belong to no pool."""
        return self.value if self is Role.IO else f"{self.value}.{pool}"

    @classmethod
    def of_queue(cls, queue: str) -> "Role | None":
        """The role whose workers consume a Celery queue; ``None`` for a queue of another sort."""
        first = queue.partition(".")[0]
        return next((role for role in cls if role == first), None)


_KINDS = {Role.PREDICT: "inference", Role.TRAIN: "training", Role.PREPARE: "preparing", Role.IO: "io"}
