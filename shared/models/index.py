"""What Redis knows of the models in the store, for quick reading; made again from the store where it is missing."""

import json

from shared.artifacts import ArtifactStore
from shared.connections import Redis, translated
from shared.keyspace import Keyspace
from shared.models.aliases import AliasLog
from shared.models.model import Model
from shared.models.version import is_version_id

_COMPLETE = "complete"  # field that says the index was made from the whole store; no version id looks like it


class RegistryIndex:
    """Which models and versions there are.

    Args:
        store: The truth.
        redis: The server that holds the index.
        keys: Its key names.
        aliases: The log of alias moves, whose index is made again together with this one.
    """

    def __init__(self, store: ArtifactStore, redis: Redis, keys: Keyspace, aliases: AliasLog) -> None:
        self._store = store
        self._redis = redis
        self._aliases = aliases
        self._models = keys.plain("models")
        self._versions = keys.plain("versions")

    def ensure(self) -> None:
        """Makes the index unless it is there."""
        with translated():
            complete = self._redis.hexists(self._versions, _COMPLETE)
        if not complete:
            self.rebuild()

    def rebuild(self) -> None:
        """Enters everything that the store holds."""
        for owner in self._store.names("models"):
            for name in self._store.names(f"models/{owner}"):
                self._enter(owner, name)
        with translated():
            self._redis.hset(self._versions, _COMPLETE, "1")

    def models(self) -> list[Model]:
        """All models, in no order."""
        self.ensure()
        with translated():
            forms = self._redis.hvals(self._models)
        return [Model.from_json(json.loads(form)) for form in forms]

    def model(self, owner: str, name: str) -> Model | None:
        """The model of that name, if there is one."""
        self.ensure()
        with translated():
            form = self._redis.hget(self._models, f"{owner}/{name}")
        return None if form is None else Model.from_json(json.loads(form))

    def model_of(self, version_id: str) -> str | None:
        """The ``owner/name`` that a version belongs to, if there is such a version."""
        if not is_version_id(version_id):
            return None
        self.ensure()
        with translated():
            model = self._redis.hget(self._versions, version_id)
        return model.decode() if isinstance(model, bytes) else model

    def add_model(self, model: Model) -> None:
        """Enters a model that the store holds."""
        with translated():
            self._redis.hset(self._models, model.full_name, json.dumps(model.to_json()))

    def add_version(self, version_id: str, model: str) -> None:
        """Enters a version that the store holds."""
        with translated():
            self._redis.hset(self._versions, version_id, model)

    def remove(self, versions: list[str], model: str | None = None) -> None:
        """Takes out versions, and the model too where one is named."""
        with translated():
            if model is not None:
                self._redis.hdel(self._models, model)
            if versions:
                self._redis.hdel(self._versions, *versions)

    def _enter(self, owner: str, name: str) -> None:
        try:
            model = Model.from_json(json.loads(self._store.read(f"models/{owner}/{name}/model.json")))
        except FileNotFoundError:
            return
        self.add_model(model)
        folder = f"models/{owner}/{name}/versions"
        for version_id in self._store.names(folder):
            if self._store.exists(f"{folder}/{version_id}/version.json"):
                self.add_version(version_id, model.full_name)
        self._aliases.rebuild(owner, name)
