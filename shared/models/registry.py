"""The catalogue of models: their versions, aliases and files.

    models/{owner}/{name}/model.json                                the model
    models/{owner}/{name}/versions/{id}/version.json                the manifest, written last
    models/{owner}/{name}/versions/{id}/model.keras, warmup/…       the files it names
    models/{owner}/{name}/aliases/{sequence}-{alias}.json           every move of an alias

The store is the truth. Redis holds an index of it, made again from the store where it is missing. Manifests never
change and are remembered for ever; what may change is remembered for less than a second.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace, translated
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from shared.models.aliases import AliasLog, AliasMove
from shared.models.files import facts_of, fetch_files
from shared.models.index import RegistryIndex
from shared.models.load_turns import LoadTurns
from shared.models.loads import LoadEvent, LoadRecords
from shared.models.locks import locked
from shared.models.lookups import Lookups
from shared.models.model import Model
from shared.models.version import RESERVED_OWNER, ModelVersion, is_name, is_version_id, iso
from shared.settings import Settings


class ModelRegistry:
    """Models, versions and aliases.

    Args:
        store: Where they lie.
        redis: The server that indexes them.
        settings: The process's settings.
    """

    def __init__(self, store: ArtifactStore, redis: Redis, settings: Settings) -> None:
        self._store = store
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._aliases = AliasLog(store, redis, self._keys)
        self._index = RegistryIndex(store, redis, self._keys, self._aliases)
        self._loads = LoadRecords(redis, self._keys, settings)
        self.turns = LoadTurns(redis, self._keys)
        self._manifests: dict[str, ModelVersion] = {}
        self._lookups = Lookups()

    def create_model(
        self, owner: str, name: str, description: str = "", visibility: str = "private", **urls: str
    ) -> Model:
        """Makes a model.

        Raises:
            Conflict: There is one of that name.
            Forbidden: The owner is reserved.
            InvalidInput: Not a name.
        """
        for field, text in (("owner", owner), ("name", name)):
            check_name(text, field)
        if owner == RESERVED_OWNER:
            raise Forbidden(f"The owner {RESERVED_OWNER} is reserved for what comes with the service; take another.")
        with self._locked(owner, name):
            if self._index.model(owner, name) is not None:
                raise Conflict(f"There is a model {owner}/{name} already.")
            form = {"description": description, "visibility": visibility, **urls}
            model = Model.from_json({"owner": owner, "name": name, "created_at": self._now(), **form})
            self._store.write(f"models/{owner}/{name}/model.json", json.dumps(model.to_json()).encode())
            self._index.add_model(model)
        return model

    def ensure_model(self, owner: str, name: str) -> Model:
        """The model, made where there is none."""
        try:
            return self._index.model(owner, name) or self.create_model(owner, name)
        except Conflict:
            return self.get_model(owner, name)

    def get_model(self, owner: str, name: str) -> Model:
        """The model, or ``NotFound``."""
        model = self._index.model(owner, name)
        if model is None:
            raise NotFound(f"There is no model {owner}/{name}; GET /v1/models lists them.")
        return model

    def list_models(self) -> list[Model]:
        """All models, newest first."""
        return sorted(self._index.models(), key=lambda model: (model.created_at, model.full_name), reverse=True)

    def delete_model(self, owner: str, name: str, *, unless_aliased: bool = False) -> list[str]:
        """Removes a model with its versions, whose ids it answers so that their jobs can be ended, and its aliases.

        Raises:
            Conflict: It has aliases, and ``unless_aliased`` says that they forbid it.
        """
        self.get_model(owner, name)
        with self._locked(owner, name):
            aliases = self.aliases(owner, name) if unless_aliased else {}
            if aliases:
                raise Conflict(
                    f"{owner}/{name} serves as {' and '.join(aliases)}; ?force=true deletes it all the same."
                )
            ids = [version.id for version in self.versions(owner, name)]
            self._index.remove(ids, f"{owner}/{name}")
            self._store.delete(f"models/{owner}/{name}/model.json")
            self._aliases.drop(owner, name)
            self._store.delete(f"models/{owner}/{name}")
        self._changed()
        return ids

    def publish(self, owner: str, name: str, files: Mapping[str, Path], **fields: Any) -> ModelVersion:
        """Makes a version public: first its files, last its manifest; the same content twice is the same version.

        Args:
            owner: Owner of the model, which must exist.
            name: Name of the model.
            files: Where each file of the version lies on this machine, by its path inside the version.
            fields: The other fields of ``ModelVersion``; take ``created_at`` from the job, so that a second attempt
                at it makes the same version.
        """
        self.get_model(owner, name)
        facts = {path: facts_of(local) for path, local in files.items()}
        version = ModelVersion(owner=owner, name=name, files=facts, **fields)
        folder = _folder(version)
        if not self._store.exists(f"{folder}/version.json"):
            for path, local in files.items():
                self._store.put(local, f"{folder}/{path}")
            self._store.write(f"{folder}/version.json", json.dumps(version.to_json()).encode())
        self._index.add_version(version.id, version.model)
        self._changed()
        return version

    def version(self, version_id: str) -> ModelVersion:
        """The version of that id, or ``NotFound``."""
        model = self._lookups.get(("version", version_id), lambda: self._index.model_of(version_id))
        version = self._manifest(model, version_id) if model else None
        if version is None:
            raise NotFound(f"There is no version {version_id}; it may have been deleted.")
        return version

    def versions(self, owner: str, name: str) -> list[ModelVersion]:
        """The versions of a model, newest first."""
        ids = self._store.names(f"models/{owner}/{name}/versions")
        found = (self._manifest(f"{owner}/{name}", version_id) for version_id in ids)
        return sorted(filter(None, found), key=lambda version: (version.created_at, version.id), reverse=True)

    def version_of_job(self, owner: str, name: str, job_id: str) -> ModelVersion | None:
        """The version that an earlier attempt at a job has published, if it came so far."""
        return next((version for version in self.versions(owner, name) if version.job_id == job_id), None)

    def delete_version(self, owner: str, name: str, version_id: str) -> None:
        """Removes a version and its files; the caller ends the jobs that wait for it.

        Raises:
            Conflict: An alias points to it.
            NotFound: The model has no such version.
        """
        with self._locked(owner, name):
            if not is_version_id(version_id) or self._manifest(f"{owner}/{name}", version_id) is None:
                raise NotFound(f"{owner}/{name} has no version {version_id}.")
            aliases = [alias for alias, target in self.aliases(owner, name).items() if target == version_id]
            if aliases:
                raise Conflict(
                    f"The version serves as {' and '.join(aliases)} of {owner}/{name}; promote another version first."
                )
            self._index.remove([version_id])
            folder = f"models/{owner}/{name}/versions/{version_id}"
            self._store.delete(f"{folder}/version.json")
            self._store.delete(folder)
        self.reset_loads(version_id)
        self._manifests.pop(version_id, None)
        self._changed()

    def resolve(self, owner: str, name: str, alias: str = "production") -> str:
        """The id of the version that an alias points to, or ``NotFound`` with what to do."""

        def look() -> str | None:
            self._index.ensure()
            return self._aliases.version_of(owner, name, alias)

        version_id = self._lookups.get(("alias", owner, name, alias), look)
        if version_id is None:
            self.get_model(owner, name)
            raise NotFound(
                f"{owner}/{name} has no version behind the alias {alias}; promote one, for example with: "
                f"headrace models promote {owner}/{name} VERSION --alias {alias}"
            )
        return version_id

    def aliases(self, owner: str, name: str) -> dict[str, str]:
        """The version that each alias of a model points to."""
        self._index.ensure()
        return self._aliases.current(owner, name)

    def alias_history(self, owner: str, name: str, alias: str | None = None) -> list[AliasMove]:
        """The moves of an alias, or of all aliases of a model; newest first."""
        return self._aliases.history(owner, name, alias)

    def previous(self, owner: str, name: str, alias: str) -> str:
        """The version that an alias pointed to before it points where it does, or ``Conflict`` where there is none."""
        self.forget()  # the alias may just have moved elsewhere
        current = self.resolve(owner, name, alias)
        for move in self.alias_history(owner, name, alias):
            if move.version not in (current, "") and self._manifest(f"{owner}/{name}", move.version) is not None:
                return move.version
        raise Conflict(f"The alias {alias} of {owner}/{name} has no earlier version that could be rolled back to.")

    def move_alias(self, owner: str, name: str, alias: str, version_id: str, by: str, reason: str = "") -> AliasMove:
        """Points an alias to a version of the model, at once; ``Promotions`` does it when workers are ready."""
        check_name(alias, "alias")
        with self._locked(owner, name):
            if not is_version_id(version_id) or self._manifest(f"{owner}/{name}", version_id, fresh=True) is None:
                raise NotFound(f"{owner}/{name} has no version {version_id}.")
            move = self._aliases.append(owner, name, alias, version_id, by, reason)
        self._changed()
        return move

    def remove_alias(self, owner: str, name: str, alias: str, by: str, reason: str = "") -> None:
        """Takes an alias away, so that it points to nothing; its history stays."""
        with self._locked(owner, name):
            self._aliases.append(owner, name, alias, "", by, reason)
        self._changed()

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """A folder on this machine with the version's files, verified anew at every call.

        Args:
            version: Which.
            cache: A folder of this machine for copies; nothing is copied out of a store that is local.

        Raises:
            ModelLoadError: A file is missing or is not what was published.
        """
        return fetch_files(self._store, _folder(version), version, cache)

    def record_load(self, version_id: str, event: LoadEvent, error: str = "") -> None:
        """Writes down that this process began to load a version, or how the load ended."""
        self._loads.record(version_id, event, error)
        self.forget()

    def is_unloadable(self, version_id: str) -> str | None:
        """Why a version is not loaded any more, ``None`` while it is."""
        return self._lookups.get(("loads", version_id), lambda: self._loads.unloadable(version_id))

    def reset_loads(self, version_id: str) -> None:
        """Lets a version be loaded again."""
        self._loads.reset(version_id)
        self._changed()

    def forget(self) -> None:
        """Drops what may have changed; for whoever hears of a change."""
        self._lookups.forget()

    def rebuild(self) -> None:
        """Makes the index from the store; for the start of a service whose Redis may have lost its last second."""
        self._index.rebuild()
        self.forget()

    def _manifest(self, model: str, version_id: str, fresh: bool = False) -> ModelVersion | None:
        version = None if fresh else self._manifests.get(version_id)
        if version is None:
            try:
                form = json.loads(self._store.read(f"models/{model}/versions/{version_id}/version.json"))
            except FileNotFoundError:
                return None
            version = ModelVersion.from_json(form)
            if version.id != version_id:
                raise Unavailable(f"The manifest of version {version_id} was changed in the artifact store.")
            self._manifests[version_id] = version
        return version if version.model == model else None

    def _changed(self) -> None:
        self.forget()
        with translated():
            self._redis.publish(self._keys.plain("changed"), "models")

    def _now(self) -> str:
        with translated():
            seconds, micros = self._redis.time()
        return iso(seconds + micros / 1e6)

    def _locked(self, owner: str, name: str) -> AbstractContextManager[None]:
        return locked(self._redis, self._keys.plain("lock", f"{owner}/{name}"), f"{owner}/{name}")


def check_name(text: str, field: str) -> None:
    """Refuses with ``InvalidInput`` what cannot be the name of an owner, a model or an alias."""
    if not is_name(text):
        rule = "use up to 63 lower-case letters, digits, dots, dashes and underscores, first a letter or digit"
        raise InvalidInput(f"{text[:64]!r} is not a name: {rule}.", field, "pattern")


def _folder(version: ModelVersion) -> str:
    return f"models/{version.model}/versions/{version.id}"
