from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.artifacts import ArtifactStore
from shared.connections import Redis
from shared.heartbeats import Heartbeats, WorkerInfo
from shared.jobs.bells import Bells
from shared.models.promotions import Promotions
from shared.models.registry import ModelRegistry
from shared.models.signature import Signature, TensorKind, TensorSpec
from shared.models.version import ModelVersion
from shared.settings import Settings


@pytest.fixture
def signature() -> Signature:
    return Signature(
        (TensorSpec("image", TensorKind.IMAGE, "uint8", (32, 32, 3)),),
        (TensorSpec("scores", TensorKind.CATEGORY, "float32", (2,)),),
    )


@pytest.fixture
def registry(artifacts: ArtifactStore, redis: Redis, settings: Settings) -> ModelRegistry:
    return ModelRegistry(artifacts, redis, settings)


@pytest.fixture
def publish(registry: ModelRegistry, signature: Signature, tmp_path: Path) -> Callable[..., ModelVersion]:
    """Publishes a version whose file holds the given text."""

    def make(content: str = "network", owner: str = "acme", name: str = "thing", **fields: Any) -> ModelVersion:
        registry.ensure_model(owner, name)
        file = tmp_path / "model.keras"
        file.write_text(content)
        facts = {"created_at": "2026-01-01T00:00:00.000Z", "source": "import", "job_id": "a1", "labels": ("no", "yes")}
        return registry.publish(owner, name, {"model.keras": file}, **{**facts, "signature": signature, **fields})

    return make


@pytest.fixture
def bells(redis: Redis, settings: Settings) -> Bells:
    return Bells(redis, settings)


@pytest.fixture
def promotions(registry: ModelRegistry, redis: Redis, settings: Settings, bells: Bells) -> Promotions:
    return Promotions(registry, redis, settings, bells)


@pytest.fixture
def alive(redis: Redis, settings: Settings) -> Callable[..., None]:
    """Says that inference workers live, each with the versions that it holds."""

    def beat(*names: str, pool: str = "cpu", kind: str = "inference", versions: tuple[str, ...] = ()) -> None:
        for number, name in enumerate(names):
            Heartbeats(redis, settings).beat(WorkerInfo(name, kind, pool, "host", number, versions))

    return beat
