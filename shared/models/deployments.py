"""Deployments: a name under which jobs reach one alias of a model in one pool of workers.

A deployment ``owner/name`` of a model serves what the model's alias ``name`` points to, so its releases are moves of
that alias, with their history, readiness and rollback. Of its own it has the pool, and the numbers of instances that
whoever scales the workers is asked for; this service starts and stops no machine.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import cast

from shared.connections import Redis, open_keyspace, translated
from shared.errors import Conflict, InvalidInput, NotFound
from shared.heartbeats import Heartbeats
from shared.models.aliases import AliasMove
from shared.models.locks import locked
from shared.models.lookups import Lookups
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry, check_name
from shared.models.version import ModelVersion, iso
from shared.settings import Settings

SCHEMA = 1
"""Number of the record's form; raised when a field changes its meaning."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is kept of a deployment beside the moves of its alias."""

    owner: str
    name: str
    """Also the name of the alias."""
    model: str
    hardware: str
    """The pool."""
    min_instances: int
    max_instances: int
    changed_at: str
    changed_by: str
    """Account and name of the key."""
    changes: int = 0
    """How often pool or numbers were changed."""
    made_alias: bool = True
    """Whether the alias came with the deployment, and so goes with it."""
    schema: int = SCHEMA

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    @property
    def model_parts(self) -> tuple[str, str]:
        """Owner and name of the model."""
        owner, _, name = self.model.partition("/")
        return owner, name


@dataclass(frozen=True, slots=True)
class Release:
    """What a deployment serves now."""

    number: int
    version: str
    created_at: str
    created_by: str
    """Account and name of the key."""


class Deployments:
    """Makes, reads, changes and deletes deployments.

    Args:
        redis: The server that keeps them.
        settings: The process's settings.
        registry: Where aliases are.
        promotions: Moves aliases when the workers of a pool are ready.
    """

    def __init__(self, redis: Redis, settings: Settings, registry: ModelRegistry, promotions: Promotions) -> None:
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._key = self._keys.plain("deployments")
        self._own_pool = settings.worker.pool
        self._registry = registry
        self._promotions = promotions
        self._heartbeats = Heartbeats(redis, settings)
        self._lookups = Lookups()

    def create(
        self, owner: str, name: str, version: ModelVersion, hardware: str, instances: tuple[int, int], by: str
    ) -> Deployment:
        """Makes a deployment; an alias that is new points to the version at once, since nobody waits for it.

        Args:
            owner: Its owner.
            name: Its name.
            version: What it is to serve first.
            hardware: Its pool.
            instances: Least and most instances.
            by: Who makes it, account and name of the key.

        Raises:
            Conflict: There is one of that name, or one of another owner that moves the same alias.
            InvalidInput: Not a name, no pool, or numbers that contradict each other.
        """
        check_name(name, "name")
        self._check(hardware, instances)
        with self._locked():
            rivals = [other for other in self.list() if other.name == name and other.model == version.model]
            if self.find(owner, name) is not None or rivals:
                what = f"alias {name} of {version.model} has the" if rivals else "is a"
                raise Conflict(f"The {what} deployment {rivals[0].full_name if rivals else f'{owner}/{name}'} already.")
            current = self._registry.aliases(version.owner, version.name).get(name)
            made = Deployment(
                owner, name, version.model, hardware, *instances, changed_at=self._now(), changed_by=by,
                made_alias=current is None,
            )  # fmt: skip
            self._write(made)
            reason = f"deployment {made.full_name}"
            if current is None:
                self._registry.move_alias(version.owner, version.name, name, version.id, by, reason)
            elif current != version.id:
                self._promotions.request(
                    version.owner, version.name, name, version.id, by, reason, self._pools(name, hardware)
                )
        return made

    def get(self, owner: str, name: str) -> Deployment:
        """A deployment, at most a second old, or ``NotFound``."""
        found = self._lookups.get((owner, name), lambda: self.find(owner, name))
        if found is None:
            raise NotFound(f"There is no deployment {owner[:64]}/{name[:64]}; GET /v1/deployments lists them.")
        return found

    def find(self, owner: str, name: str) -> Deployment | None:
        """A deployment as it is now, if there is one."""
        with translated():
            form = cast(bytes | None, self._redis.hget(self._key, f"{owner}/{name}"))
        return Deployment(**json.loads(form)) if form else None

    def list(self) -> Sequence[Deployment]:
        """All of them, in no order."""
        with translated():
            forms = cast(Sequence[bytes], self._redis.hvals(self._key))
        return [Deployment(**json.loads(form)) for form in forms]

    def update(
        self,
        owner: str,
        name: str,
        by: str,
        *,
        version: ModelVersion | None = None,
        hardware: str | None = None,
        instances: tuple[int | None, int | None] = (None, None),
    ) -> Deployment:
        """Changes what is given; a version serves as soon as the workers of the pool have it ready.

        Raises:
            NotFound: There is no such deployment.
            InvalidInput: The version is another model's, or the rest cannot be.
        """
        with self._locked():
            self._lookups.forget()
            old = self.get(owner, name)
            if version is not None and version.model != old.model:
                raise InvalidInput(f"The version belongs to {version.model}, not to {old.model}.", "version", "unknown")
            least, most = instances
            new = replace(
                old,
                hardware=old.hardware if hardware is None else hardware,
                min_instances=old.min_instances if least is None else least,
                max_instances=old.max_instances if most is None else most,
            )
            if new != old:
                self._check(new.hardware, (new.min_instances, new.max_instances))
                new = replace(new, changes=old.changes + 1, changed_at=self._now(), changed_by=by)
                self._write(new)
            if version is not None and self._registry.aliases(*old.model_parts).get(name) != version.id:
                reason = f"deployment {old.full_name}"
                self._promotions.request(
                    *old.model_parts, name, version.id, by, reason, self._pools(name, new.hardware)
                )
        return new

    def delete(self, owner: str, name: str, by: str) -> None:
        """Removes a deployment, and the alias that came with it; jobs that it made go on, and so do other callers'."""
        with self._locked():
            self._lookups.forget()
            old = self.get(owner, name)
            with translated():
                self._redis.hdel(self._key, old.full_name)
            self._changed()
            if old.made_alias and name in self._registry.aliases(*old.model_parts):
                self._registry.remove_alias(*old.model_parts, name, by, f"deployment {old.full_name} deleted")

    def pools_of(self, model: str, alias: str) -> Sequence[str]:
        """The pools whose workers answer for an alias of a model; empty where no deployment serves it."""
        pools = (one.hardware for one in self.list() if (one.model, one.name) == (model, alias))
        return next((self._pools(alias, pool) for pool in pools), ())

    def drop(self, model: str) -> None:
        """Removes the deployments of a model that is deleted."""
        for deployment in self.list():
            if deployment.model == model:
                with translated():
                    self._redis.hdel(self._key, deployment.full_name)
                self._changed()

    def release(self, deployment: Deployment) -> Release | None:
        """What it serves, ``None`` where its alias points to nothing any more."""
        moves: Sequence[AliasMove] = self._registry.alias_history(*deployment.model_parts, deployment.name)
        if not moves or not moves[0].version:
            return None
        newest = max((moves[0].moved_at, moves[0].by), (deployment.changed_at, deployment.changed_by))
        return Release(len(moves) + deployment.changes, moves[0].version, *newest)

    def pools(self) -> dict[str, int]:
        """How many inference workers live in each pool that there is: this service's own, and those with workers."""
        counts = {self._own_pool: 0}
        for worker in self._heartbeats.living():
            counts[worker.pool] = counts.get(worker.pool, 0) + (worker.kind == "inference")
        return dict(sorted(counts.items()))

    def forget(self) -> None:
        """Drops what may have changed; for whoever hears of a change."""
        self._lookups.forget()

    def _pools(self, alias: str, hardware: str) -> Sequence[str]:
        # What is in production answers jobs that name no deployment too, and those go to the service's own pool.
        return (hardware, self._own_pool) if alias == "production" else (hardware,)

    def _check(self, hardware: str, instances: tuple[int, int]) -> None:
        pools = self.pools()
        if hardware not in pools:
            known = ", ".join(pools)
            raise InvalidInput(f"hardware names a pool of workers, one of {known}.", "hardware", "enum")
        if instances[0] > instances[1]:
            raise InvalidInput("min_instances must be at most max_instances.", "min_instances", "range")

    def _write(self, deployment: Deployment) -> None:
        with translated():
            self._redis.hset(self._key, deployment.full_name, json.dumps(asdict(deployment)))
        self._changed()

    def _changed(self) -> None:
        self.forget()
        with translated():
            self._redis.publish(self._keys.plain("changed"), "deployments")

    def _now(self) -> str:
        with translated():
            seconds, micros = self._redis.time()
        return iso(seconds + micros / 1e6)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._redis, f"{self._key}:lock", "the deployments")
