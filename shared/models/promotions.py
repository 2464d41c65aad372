"""Promotions: an alias moves when the workers that will answer for it are ready.

    request ──> pending ──> flipped      every living worker of the pool holds the version, or none lives
                   └──────> failed       a worker could not load it; the version before serves on

The workers load one after another, so that most of them serve meanwhile. One that stays silent past the load limit is
left out. Messages to workers may be lost: ``sweep`` asks again, and whoever reports carries the promotion on.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, cast

import structlog

from shared.connections import Redis, open_keyspace, translated
from shared.errors import Conflict, InvalidInput, NotFound
from shared.heartbeats import Heartbeats
from shared.jobs.bells import Bells
from shared.models.locks import locked
from shared.models.registry import ModelRegistry
from shared.models.version import is_name
from shared.roles import Role
from shared.settings import Settings

log = structlog.get_logger(__name__)

ASK_AGAIN_SECONDS = 15.0
"""After how long a worker that has not answered is asked again, since the message may be lost."""

_FAILED_SECONDS = 86_400  # how long a refused promotion can be read


@dataclass(frozen=True, slots=True)
class _Intent:
    """A promotion as its hash in Redis has it."""

    owner: str
    name: str
    alias: str
    fields: Mapping[str, str]

    @property
    def version(self) -> str:
        return self.fields["version"]

    @property
    def failed(self) -> str | None:
        return self.fields.get("failed")

    def workers(self, state: Literal["ready", "left", "asked"]) -> dict[str, float]:
        return {
            field.partition(":")[2]: float(at) for field, at in self.fields.items() if field.startswith(f"{state}:")
        }


class Promotions:
    """The intended moves of aliases.

    Args:
        registry: Where the aliases move in the end.
        redis: The server.
        settings: The process's settings; ``worker.pool`` names the workers that have to be ready.
        bells: Carries the requests to single workers.
    """

    def __init__(self, registry: ModelRegistry, redis: Redis, settings: Settings, bells: Bells) -> None:
        self._registry = registry
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._pool = settings.worker.pool
        self._timeout = settings.inference.load_timeout_seconds
        self._fresh = 3 * settings.worker.heartbeat_seconds
        self._bells = bells
        self._heartbeats = Heartbeats(redis, settings)

    def request(
        self, owner: str, name: str, alias: str, version: str, by: str, reason: str = "", pools: Sequence[str] = ()
    ) -> Literal["flipped", "pending"]:
        """Wants an alias to point to a version; a later request for the same alias replaces this one.

        Where it points there already, nothing moves and its history gets no entry.

        Args:
            owner: Owner of the model.
            name: Its name.
            alias: The alias.
            version: Where it is to point.
            by: Who wants it.
            reason: Why.
            pools: The pools whose workers have to be ready; this process's own unless given.

        Raises:
            NotFound: The model has no such version.
            Conflict: The version failed to load too often and was not reset.
            InvalidInput: No name for an alias.
        """
        if not is_name(alias):
            raise InvalidInput(f"{alias!r} is not a name for an alias.", "alias", "pattern")
        found = self._registry.version(version)
        if found.model != f"{owner}/{name}":
            raise NotFound(f"{owner}/{name} has no version {version}; it belongs to {found.model}.")
        problem = self._registry.is_unloadable(version)
        if problem is not None:
            raise Conflict(problem)
        if self._replace(owner, name, alias, version=version, by=by, reason=reason, pools=",".join(pools)):
            return "flipped"
        self._advance(owner, name, alias)
        intent = self._read(owner, name, alias)
        if intent is not None and intent.version == version:
            if intent.failed is not None:
                raise Conflict(f"The promotion failed: {intent.failed}")
            return "pending"
        return "flipped"

    def rollback(
        self, owner: str, name: str, alias: str, by: str, reason: str = "", pools: Sequence[str] = ()
    ) -> Literal["flipped", "pending"]:
        """Wants an alias to point where it pointed before; ``Conflict`` where there is no such version."""
        version = self._registry.previous(owner, name, alias)
        return self.request(owner, name, alias, version, by, reason or "rollback", pools)

    def state(self, owner: str, name: str, alias: str) -> dict[str, Any] | None:
        """What a promotion waits for or why it failed; ``None`` where none is under way."""
        intent = self._read(owner, name, alias)
        if intent is None:
            return None
        ready, missing = self._split(intent)
        return {
            "version": intent.version,
            "ready": ready,
            "missing": [] if intent.failed is not None else missing,
            "left_out": sorted(intent.workers("left")),
            "failed": intent.failed,
        }

    def ready(self, worker: str, version: str) -> None:
        """Takes note that a worker holds a version, loaded and warm."""
        for intent in self._pending():
            if intent.version == version:
                self._note(intent, {f"ready:{worker}": self._now()})
                self._advance(intent.owner, intent.name, intent.alias)

    def failed(self, worker: str, version: str, error: str) -> None:
        """Takes note that a worker could not load a version, which refuses its promotions."""
        for intent in self._pending():
            if intent.version == version:
                self._refuse(intent, f"worker {worker} could not load it: {error}")

    def sweep(self) -> None:
        """Carries on every promotion: asks again where a message was lost, leaves out who is silent for too long."""
        for intent in self._pending():
            try:
                self._advance(intent.owner, intent.name, intent.alias)
            except Exception as error:  # one that fails must not stop the others
                log.warning("a promotion cannot go on", alias=intent.alias, version=intent.version, error=str(error))

    def _replace(self, owner: str, name: str, alias: str, **wanted: str) -> bool:
        """Puts an intent in the place of the one there is; True where nothing has to move, so that none is needed."""
        key, promotions = self._key(owner, name, alias), self._keys.plain("promotions")
        with self._locked(owner, name, alias):
            is_there = self._registry.aliases(owner, name).get(alias) == wanted["version"]
            with translated(), self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                if is_there:
                    pipe.srem(promotions, f"{owner}/{name}:{alias}")
                else:
                    pipe.hset(key, mapping=dict(wanted.items()))
                    pipe.sadd(promotions, f"{owner}/{name}:{alias}")
                pipe.execute()
        return is_there

    def _locked(self, owner: str, name: str, alias: str) -> AbstractContextManager[None]:
        return locked(self._redis, f"{self._key(owner, name, alias)}:lock", f"the alias {alias} of {owner}/{name}")

    def _advance(self, owner: str, name: str, alias: str) -> None:
        with self._locked(owner, name, alias):
            intent = self._read(owner, name, alias)
            if intent is None or intent.failed is not None:
                return
            problem = self._registry.is_unloadable(intent.version)
            if problem is not None:
                self._refuse(intent, problem)
                return
            _, missing = self._split(intent)
            if missing:
                missing = self._without_silent(intent, missing)
            if missing:
                self._ask(intent, missing[0])
            else:
                self._flip(intent)

    def _flip(self, intent: _Intent) -> None:
        by, reason = intent.fields["by"], intent.fields["reason"]
        try:
            self._registry.move_alias(intent.owner, intent.name, intent.alias, intent.version, by, reason)
        except NotFound as error:  # deleted meanwhile
            self._refuse(intent, error.detail)
            return
        self._forget(intent, delete=True)

    def _ask(self, intent: _Intent, worker: str) -> None:
        now = self._now()
        asked = float(intent.fields.get(f"last:{worker}", "-inf"))
        if now - asked < ASK_AGAIN_SECONDS:
            return
        first = intent.workers("asked").get(worker, now)
        self._note(intent, {f"asked:{worker}": first, f"last:{worker}": now})
        self._bells.ask_to_load(worker, intent.version)

    def _without_silent(self, intent: _Intent, missing: list[str]) -> list[str]:
        asked, now = intent.workers("asked"), self._now()
        silent = [worker for worker in missing if now - asked.get(worker, now) > self._timeout]
        if silent:
            self._note(intent, {f"left:{worker}": now for worker in silent})
        return [worker for worker in missing if worker not in silent]

    def _split(self, intent: _Intent) -> tuple[list[str], list[str]]:
        """The living workers that hold the version, and those that are still to load it."""
        pools = (intent.fields.get("pools") or self._pool).split(",")
        living = [one for one in self._heartbeats.living(kind=Role.PREDICT.worker_kind) if one.pool in pools]
        # A report counts until the heartbeat must show the version: a worker may restart under its name.
        recent = self._now() - self._fresh
        reported = [worker for worker, at in intent.workers("ready").items() if at > recent]
        left = intent.workers("left")
        ready = [worker.name for worker in living if worker.name in reported or intent.version in worker.versions]
        missing = [worker.name for worker in living if worker.name not in ready and worker.name not in left]
        return ready, missing

    def _refuse(self, intent: _Intent, error: str) -> None:
        if self._note(intent, {"failed": error}):
            self._forget(intent, delete=False)

    def _note(self, intent: _Intent, facts: Mapping[str, str | float]) -> bool:
        # Only the promotion that was read: another one may have taken its place, or it may be over.
        with translated():
            return bool(
                self._redis.eval(
                    "if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end "
                    "redis.call('HSET', KEYS[1], unpack(ARGV, 2)) return 1",
                    1,
                    self._key(intent.owner, intent.name, intent.alias),
                    intent.version,
                    *(str(part) for fact in facts.items() for part in fact),
                )
            )

    def _forget(self, intent: _Intent, delete: bool) -> None:
        key = self._key(intent.owner, intent.name, intent.alias)
        with translated():
            self._redis.eval(
                "if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end "
                "redis.call('SREM', KEYS[2], ARGV[2]) redis.call('EXPIRE', KEYS[1], ARGV[3]) return 1",
                2,
                key,
                self._keys.plain("promotions"),
                intent.version,
                f"{intent.owner}/{intent.name}:{intent.alias}",
                "0" if delete else str(_FAILED_SECONDS),
            )

    def _pending(self) -> list[_Intent]:
        with translated():
            names = cast(set[bytes], self._redis.smembers(self._keys.plain("promotions")))
        intents = []
        for entry in sorted(names):
            model, _, alias = entry.decode().partition(":")
            owner, _, name = model.partition("/")
            intent = self._read(owner, name, alias)
            if intent is not None and intent.failed is None:
                intents.append(intent)
        return intents

    def _read(self, owner: str, name: str, alias: str) -> _Intent | None:
        with translated():
            record = cast(dict[bytes, bytes], self._redis.hgetall(self._key(owner, name, alias)))
        if not record:
            return None
        fields = {field.decode(): value.decode(errors="replace") for field, value in record.items()}
        return _Intent(owner, name, alias, fields) if "version" in fields else None

    def _now(self) -> float:
        with translated():
            seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6

    def _key(self, owner: str, name: str, alias: str) -> str:
        return self._keys.plain("promotion", f"{owner}/{name}:{alias}")
