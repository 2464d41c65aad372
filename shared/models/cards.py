"""What people are told of a model and may change at any time: its texts and links, its readme, its example.

    models/{owner}/{name}/model.json      texts and links, written last
                          readme.md       Markdown
                          example.json    copy of the prediction that is its example

An example is a copy because whoever pins it publishes it: it outlives the prediction, which is its account's own and
loses its data after a day.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from shared.artifacts import ArtifactStore
from shared.connections import Redis, open_keyspace
from shared.errors import NotFound
from shared.models.aliases import AliasLog
from shared.models.index import RegistryIndex
from shared.models.locks import locked
from shared.models.model import Model
from shared.settings import Settings


class ModelCards:
    """Changes and reads them.

    Args:
        store: Where they lie.
        redis: The server that indexes the models.
        settings: The process's settings.
    """

    def __init__(self, store: ArtifactStore, redis: Redis, settings: Settings) -> None:
        self._store = store
        self._redis = redis
        self._keys = open_keyspace(settings)
        self._index = RegistryIndex(store, redis, self._keys, AliasLog(store, redis, self._keys))

    def update(
        self,
        owner: str,
        name: str,
        facts: Mapping[str, str],
        *,
        readme: str | None = None,
        example: Mapping[str, Any] | None = None,
    ) -> Model:
        """Changes what is given and leaves the rest.

        Args:
            owner: Owner of the model.
            name: Its name.
            facts: Fields of ``Model``; an empty text takes one away.
            readme: The new readme, in Markdown.
            example: The new example, an object of the wire with an ``id``; an empty one takes it away.

        Raises:
            NotFound: There is no such model.
        """
        folder = f"models/{owner}/{name}"
        with locked(self._redis, self._keys.plain("lock", f"{owner}/{name}"), f"{owner}/{name}"):
            model = self._index.model(owner, name)
            if model is None:
                raise NotFound(f"There is no model {owner}/{name}; GET /v1/models lists them.")
            changes: dict[str, Any] = dict(facts)
            if readme is not None:
                self._store.write(f"{folder}/readme.md", readme.encode())
            if example is not None:
                changes["example"] = str(example.get("id", ""))
                if example:
                    self._store.write(f"{folder}/example.json", orjson.dumps(example))
                else:
                    self._store.delete(f"{folder}/example.json")
            model = replace(model, **changes)
            self._store.write(f"{folder}/model.json", json.dumps(model.to_json()).encode())
            self._index.add_model(model)
        return model

    def readme(self, owner: str, name: str) -> str:
        """The readme of a model, empty where it has none."""
        try:
            return self._store.read(f"models/{owner}/{name}/readme.md").decode()
        except FileNotFoundError:
            return ""

    def example(self, model: Model) -> dict[str, Any] | None:
        """The copy of the prediction that is a model's example, if it has one."""
        if not model.example:
            return None
        try:
            kept: dict[str, Any] = orjson.loads(self._store.read(f"models/{model.full_name}/example.json"))
        except FileNotFoundError:
            return None
        return kept
