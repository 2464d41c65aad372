from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.artifacts import ArtifactStore
from shared.datasets.dataset import DEFAULT_FRACTIONS, Dataset
from shared.datasets.store import DatasetStore
from shared.errors import Unavailable
from workers.datasets import spool as spools
from workers.datasets.shards import ShardWriter
from workers.datasets.splits import share_out
from workers.datasets.spool import Spool
from workers.examples import open_examples
from workers.progress import Stage, bar_line, clock

DIGEST = "5" * 64


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path, 1 << 30, 1000)
    yield spool
    spool.close()


@pytest.mark.parametrize("kind", ["equal", "ragged", "large"])
def test_examples_come_back_in_order_from_many_shards(
    kind: str,
    spool: Spool,
    tmp_path: Path,
    make_run: Callable[..., Any],
    datasets: DatasetStore,
    artifacts: ArtifactStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "large":
        monkeypatch.setattr(spools, "MOST_RAW_PIXELS", 5)
    random = np.random.default_rng(0)
    images = []
    for index in range(60):
        height = 4 + (index % 3 if kind == "ragged" else 0)
        images.append(random.integers(0, 256, (height, 3, 1 if index % 5 else 3), dtype=np.uint8))
        spool.add(images[-1], index % 2)
    splits = share_out(spool.labels, spool.digests, spool.splits, DEFAULT_FRACTIONS, 0)
    stage = Stage(make_run("dataset"), "writing", 60, "image")
    writer = ShardWriter(spool, 2, datasets, DIGEST, tmp_path, stage, shard_bytes=200)
    dataset = Dataset(
        digest=DIGEST,
        labels=("a", "b"),
        splits=writer.write(splits),
        files=writer.files,
        channels=spool.channels,
        image_shape=spool.image_shape,
        is_encoded=spool.is_encoded,
        seed=0,
        fractions=DEFAULT_FRACTIONS,
        created_at="",
    )
    assert dataset.is_encoded == (kind != "equal") and (dataset.image_shape is None) == (kind == "ragged")
    assert len(dataset.splits["train"].shards) > 3 and list(tmp_path.glob("*.npy")) == []
    opened = open_examples(artifacts, dataset, tmp_path, lambda: None)
    for (name, examples), indices in zip(opened.items(), splits, strict=True):
        assert len(examples) == dataset.splits[name].examples == len(indices)
        for place, index in enumerate(indices.tolist()):
            assert examples.labels[place] == index % 2
            expected = np.broadcast_to(images[index], (*images[index].shape[:2], 3))
            assert np.array_equal(examples.image(place), expected)
    if kind != "ragged":
        order = np.array([7, 0, 30, 7])
        assert np.array_equal(opened["train"].stacked(order), np.stack([opened["train"].image(int(i)) for i in order]))


def test_a_set_in_a_store_elsewhere_is_copied_and_verified(
    spool: Spool, tmp_path: Path, make_run: Callable[..., Any], datasets: DatasetStore, artifacts: ArtifactStore
) -> None:
    for index in range(20):
        spool.add(np.full((4, 4, 1), index, np.uint8), index % 2)
    splits = share_out(spool.labels, spool.digests, spool.splits, DEFAULT_FRACTIONS, 0)
    writer = ShardWriter(spool, 2, datasets, DIGEST, tmp_path, Stage(make_run("dataset"), "writing", 20, "image"))
    shape = spool.image_shape
    facts = {"labels": ("a", "b"), "channels": 1, "image_shape": shape, "is_encoded": False, "seed": 0}
    dataset = Dataset(
        digest=DIGEST, splits=writer.write(splits), files=writer.files, fractions={}, created_at="", **facts
    )

    class Elsewhere(ArtifactStore):
        def local_path(self, path: str) -> None:
            return None

    elsewhere = Elsewhere(artifacts.url)
    opened = open_examples(elsewhere, dataset, tmp_path, lambda: None)
    assert sorted(int(examples.image(i).max()) for examples in opened.values() for i in range(len(examples))) == list(
        range(20)
    )
    artifacts.write(f"datasets/{DIGEST}/test.labels.npy", b"x")
    with pytest.raises(Unavailable, match="came damaged"):  # it may have been cut off on its way
        open_examples(elsewhere, dataset, tmp_path, lambda: None)
    with pytest.raises(Exception, match="was changed"):
        open_examples(artifacts, dataset, tmp_path, lambda: None)
    artifacts.delete(f"datasets/{DIGEST}/train.labels.npy")
    with pytest.raises(Exception, match="deleted or lacks"):
        open_examples(elsewhere, dataset, tmp_path, lambda: None)


def test_a_bar_looks_as_stock_clients_expect() -> None:
    line = bar_line(9, 20, 4.1, "step", {"loss": "0.31"})
    assert line == " 45%|█████████           | 9/20 [00:04<00:05, 2.2step/s, loss=0.31]"
    assert bar_line(0, 0, 0, "file").startswith("100%|") and bar_line(0, 5, 0, "file").startswith("  0%|")
    assert clock(3725) == "1:02:05"
